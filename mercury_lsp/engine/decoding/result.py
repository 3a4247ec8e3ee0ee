"""Turns decoded tokens into an `Infill` or a `Progress`: the text with its lines and scores, or with masks."""

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
    """Builds the `Infill` and the `Progress` values of one infilling.

    ``tokens``: the bytes of the vocabulary's tokens. ``started``: `time.perf_counter` at the start, in seconds.
    ``cached_tokens``: how many of the ``prompt_tokens`` were in the cache. ``stem``: the text with which the decoded
    tokens begin, and which is not part of the middle. ``memory``: names the source of a middle.
    """

    tokens: TokenBytes
    stop_tokens: Container[int]
    budget: DecodeBudget
    started: float
    cached_tokens: int
    prompt_tokens: int
    stem: str = ""
    memory: MemoryView | None = None

    def infill(self, middle: DecodeResult) -> Infill:
        """Return the infill for a middle; its times end now."""
        now = time.perf_counter()
        text = self._after_stem(self.tokens.vocabulary.decode(middle.tokens))
        texts, stem = self.tokens.bytes_of, len(self.stem)
        return Infill(
            text=text,
            tokens=len(middle.logp),
            steps=middle.steps,
            forward_passes=self.budget.passes,
            ms=(now - self.started) * 1e3,
            ms_prefill=(self.budget.prefilled - self.started) * 1e3,
            ms_denoise=(now - self.budget.prefilled) * 1e3,
            cached_tokens=self.cached_tokens,
            prompt_tokens=self.prompt_tokens,
            confidence=math.exp(sum(middle.logp) / len(middle.logp)) if middle.logp else 0.0,
            finished=middle.finished,
            lines=complete_lines(texts, self.tokens.newlines, stem, middle.tokens, middle.logp),
            source=self.memory.source(middle.tokens) if self.memory else "",
            scored=scored_tokens(texts, stem, len(text), middle.tokens, middle.logp),
        )

    def reporter(self, on_progress: Callable[[Progress], None] | None) -> OnTokens:
        """Return a callback for a decoder, which passes each draft to ``on_progress`` as a `Progress`."""

        def report(committed: Sequence[int], draft: Sequence[int | None], logp: Sequence[float]) -> None:
            if on_progress is not None:
                decided = len(committed) + sum(token is not None for token in draft)
                so_far = self.infill(DecodeResult([*committed], [*logp], self.budget.passes, False))
                text = self._after_stem(
                    draft_text(self.tokens.vocabulary, self.stop_tokens, committed, draft)
                )
                on_progress(Progress(text, decided, len(committed) + len(draft), self.budget.passes, so_far))

        return report

    def _after_stem(self, text: str) -> str:
        """Return the text after the stem; only its marks for masks while the stem is incomplete."""
        return text[len(self.stem) :] if text.startswith(self.stem) else UNDECIDED * text.count(UNDECIDED)


def commit_rule(sampling: Sampling) -> CommitRule:
    """Return the rule by which a pass commits tokens of a canvas that is not verified."""
    if sampling.threshold:
        return CommitRule(threshold(sampling.threshold), by_entropy=False)
    return CommitRule(entropy_bound(sampling.entropy_bound))


def complete_lines(
    token_bytes: Sequence[bytes],
    newlines: Container[int],
    stem: int,
    tokens: Sequence[int],
    logp: Sequence[float],
) -> tuple[Line, ...]:
    """Return the lines that a middle's tokens complete, without the first ``stem`` characters of the text."""
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
    """Return the scored tokens of a middle of ``length`` characters, which follow the first ``stem`` characters.

    A token within the stem, or with only a part of a character, is merged with the next token.
    """
    scored: list[ScoredToken] = []
    written, joint_logp, last = b"", 0.0, 0
    for token, token_logp in zip(tokens, logp, strict=False):
        written += token_bytes[token]
        joint_logp += token_logp
        end = min(_characters(written) - stem, length)
        if end > last:
            scored.append(ScoredToken(end, joint_logp))
            joint_logp, last = 0.0, end
    return tuple(scored)


def _characters(text: bytes) -> int:
    """Return the number of complete characters of a text in UTF-8."""
    return len(text.decode(errors="ignore"))


def draft_text(
    vocabulary: Vocabulary, stop_tokens: Container[int], committed: Sequence[int], draft: Sequence[int | None]
) -> str:
    """Return a draft's text up to its first stop token, with `UNDECIDED` for each mask."""
    text, run = "", list(committed)
    for token in draft:
        if token is None:
            text, run = text + vocabulary.decode(run) + UNDECIDED, []
        elif token in stop_tokens:
            break
        else:
            run.append(token)
    return text + vocabulary.decode(run)
