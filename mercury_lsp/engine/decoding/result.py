"""What decoded tokens are to a user: a text, its lines, and a draft with marks where nothing is decided yet.

Owns that translation, and what is told of one infilling, for every engine. Knows no network and no way to decode.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from mercury_lsp.engine.api import UNDECIDED, Infill, Line, Progress, Sampling, ScoredToken
from mercury_lsp.engine.decoding.commit import entropy_bound, threshold
from mercury_lsp.engine.decoding.decode import DecodeBudget, DecodeResult, OnTokens
from mercury_lsp.engine.decoding.denoise import CommitRule
from mercury_lsp.engine.decoding.memory_view import MemoryView
from mercury_lsp.engine.tokenizer import Vocabulary


@dataclass(frozen=True, slots=True)
class ResultBuilder:
    """Of one infilling that ``began`` at a reading of the performance counter.

    ``ends``: the tokens that end a text; ``newlines``: those with a line's end; of ``read`` tokens of the prompt so
    many were ``cached``. ``token_bytes``: of each token of the vocabulary. ``stem``: the text with which the tokens
    begin, and which is not the middle's. ``memory``: which tells where a middle comes from.
    """

    vocabulary: Vocabulary
    ends: Container[int]
    newlines: Container[int]
    budget: DecodeBudget
    began: float
    cached: int
    read: int
    token_bytes: Sequence[bytes]
    stem: str = ""
    memory: MemoryView | None = None

    def infill(self, middle: DecodeResult) -> Infill:
        """What a middle is that has taken until now."""
        now = time.perf_counter()
        text = self._behind_stem(self.vocabulary.decode(middle.tokens))
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
            lines=lines_of(self.token_bytes, self.newlines, len(self.stem), middle.tokens, middle.logp),
            source=self.memory.source(middle.tokens) if self.memory else "",
            scored=scored_tokens(self.token_bytes, len(self.stem), len(text), middle.tokens, middle.logp),
        )

    def reporter(self, on_progress: Callable[[Progress], None] | None) -> OnTokens:
        """What a decoder tells its drafts, so that ``on_progress``, if there is any, sees them."""

        def told(committed: Sequence[int], behind: Sequence[int | None], logp: Sequence[float]) -> None:
            if on_progress is not None:
                decided = len(committed) + sum(token is not None for token in behind)
                there = self.infill(DecodeResult([*committed], [*logp], self.budget.passes, False))
                text = self._behind_stem(draft_text(self.vocabulary, self.ends, committed, behind))
                on_progress(Progress(text, decided, len(committed) + len(behind), self.budget.passes, there))

        return told

    def _behind_stem(self, text: str) -> str:
        """What of a text comes behind the stem; nothing, or what is undecided, where that is not complete."""
        return text[len(self.stem) :] if text.startswith(self.stem) else UNDECIDED * text.count(UNDECIDED)


def commit_rule(sampling: Sampling) -> CommitRule:
    """What a pass may commit of a canvas that is not verified."""
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
    """The lines that a middle's tokens end, behind the ``stem`` characters with which they begin. logp: theirs."""
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
    """The tokens of a text of ``length`` characters, behind the ``stem`` characters with which they begin.

    Tokens of the stem alone, and those that have only a part of a character, count with the next one.
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
    """How many characters are complete."""
    return len(text.decode(errors="ignore"))


def draft_text(
    vocabulary: Vocabulary, ends: Container[int], committed: Sequence[int], behind: Sequence[int | None]
) -> str:
    """A draft's text up to the first token that ends it, a mark for each undecided one."""
    text, run = "", list(committed)
    for token in behind:
        if token is None:
            text, run = text + vocabulary.decode(run) + UNDECIDED, []
        elif token in ends:
            break
        else:
            run.append(token)
    return text + vocabulary.decode(run)
