"""Turns decoded tokens into a text, its lines and its scores, and a draft into a text with marks for masks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from mercury_lsp.engine.api import UNDECIDED, Infill, Line, Progress, Sampling, ScoredToken
from mercury_lsp.engine.decoding.decode import DecodeBudget, DecodeResult, OnTokens
from mercury_lsp.engine.decoding.denoise import CommitRule, entropy_bound, threshold
from mercury_lsp.engine.decoding.healing import TokenBytes
from mercury_lsp.engine.decoding.memory_view import MemoryView
from mercury_lsp.engine.tokenizer import Vocabulary


@dataclass(frozen=True, slots=True)
class ResultBuilder:
    """Builds the results of one infilling.

    ``tokens``: of the vocabulary. ``ends``: the stop tokens. ``began``: reading of the performance counter in seconds.
    ``cached``, ``read``: the prompt's tokens in the cache, and all of them. ``stem``: the text with which the tokens
    begin, and which is not part of the middle. ``memory``: tells the source of a middle.
    """

    tokens: TokenBytes
    ends: Container[int]
    budget: DecodeBudget
    began: float
    cached: int
    read: int
    stem: str = ""
    memory: MemoryView | None = None

    def infill(self, middle: DecodeResult) -> Infill:
        """The infill of a middle that was decoded until now."""
        now = time.perf_counter()
        text = self._after_stem(self.tokens.vocabulary.decode(middle.tokens))
        texts, stem = self.tokens.of, len(self.stem)
        return Infill(
            text=text,
            tokens=len(middle.logp),
            steps=middle.steps,
            forward_passes=self.budget.passes,
            ms=(now - self.began) * 1e3,
            ms_prefill=(self.budget.prefilled - self.began) * 1e3,
            ms_denoise=(now - self.budget.prefilled) * 1e3,
            cached_tokens=self.cached,
            prompt_tokens=self.read,
            confidence=math.exp(sum(middle.logp) / len(middle.logp)) if middle.logp else 0.0,
            finished=middle.finished,
            lines=lines_of(texts, self.tokens.newlines, stem, middle.tokens, middle.logp),
            source=self.memory.source(middle.tokens) if self.memory else "",
            scored=scored_tokens(texts, stem, len(text), middle.tokens, middle.logp),
        )

    def reporter(self, on_progress: Callable[[Progress], None] | None) -> OnTokens:
        """A function for a decoder's drafts that turns each into a `Progress` for ``on_progress``."""

        def report(committed: Sequence[int], draft: Sequence[int | None], logp: Sequence[float]) -> None:
            if on_progress is not None:
                decided = len(committed) + sum(token is not None for token in draft)
                so_far = self.infill(DecodeResult([*committed], [*logp], self.budget.passes, False))
                text = self._after_stem(draft_text(self.tokens.vocabulary, self.ends, committed, draft))
                on_progress(Progress(text, decided, len(committed) + len(draft), self.budget.passes, so_far))

        return report

    def _after_stem(self, text: str) -> str:
        """The text after the stem; only its masks while the stem is not complete."""
        return text[len(self.stem) :] if text.startswith(self.stem) else UNDECIDED * text.count(UNDECIDED)


def commit_rule(sampling: Sampling) -> CommitRule:
    """How a pass commits tokens of a canvas that is not verified."""
    if sampling.threshold:
        return CommitRule(threshold(sampling.threshold), by_entropy=False)
    return CommitRule(entropy_bound(sampling.entropy_bound))


def lines_of(
    token_bytes: Sequence[bytes],
    newlines: Container[int],
    stem: int,
    tokens: Sequence[int],
    logp: Sequence[float],
) -> tuple[Line, ...]:
    """The lines that a middle's tokens end, after the first ``stem`` characters; logp: of the tokens."""
    lines = []
    written = b""
    for i, token in enumerate(tokens):
        before, written = written, written + token_bytes[token]
        if token in newlines:
            first = max(stem, _characters(before))
            end = written.decode(errors="ignore").find("\n", first)
            if end >= 0:
                lines.append(Line(end - stem, i + 1, sum(logp[: i + 1])))
    return tuple(lines)


def scored_tokens(
    token_bytes: Sequence[bytes], stem: int, length: int, tokens: Sequence[int], logp: Sequence[float]
) -> tuple[ScoredToken, ...]:
    """The scored tokens of a text of ``length`` characters, after the first ``stem`` characters.

    Tokens within the stem, and tokens with only a part of a character, count with the next one.
    """
    scored: list[ScoredToken] = []
    written, together, last = b"", 0.0, 0
    for token, own in zip(tokens, logp, strict=False):
        written += token_bytes[token]
        together += own
        end = min(_characters(written) - stem, length)
        if end > last:
            scored.append(ScoredToken(end, together))
            together, last = 0.0, end
    return tuple(scored)


def _characters(text: bytes) -> int:
    """The number of complete characters."""
    return len(text.decode(errors="ignore"))


def draft_text(
    vocabulary: Vocabulary, ends: Container[int], committed: Sequence[int], draft: Sequence[int | None]
) -> str:
    """A draft's text up to its first stop token, with `UNDECIDED` for each mask."""
    text, run = "", list(committed)
    for token in draft:
        if token is None:
            text, run = text + vocabulary.decode(run) + UNDECIDED, []
        elif token in ends:
            break
        else:
            run.append(token)
    return text + vocabulary.decode(run)
