"""Defines the protocol of an engine, and the values that go in and come out.

Our own checkpoints (`local_engine`), open models (`open_models.engine`) and hosted models (`remote.engine`) have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from mercury_lsp.engine.tokenizer import (
    DRAFT_LOOKUP,
    DRAFT_SURETY,
    DRAFT_TRUST,
    ENTROPY_BOUND,
    Hint,
    Prompt,
    Vocabulary,
)

if TYPE_CHECKING:
    from mercury_lsp.engine.decoding.mixture import Memory

UNDECIDED = "░"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to infill. ``mode``: diffusion or autoregressive; ``verify``: see `decode`; ``block``: tokens of a canvas, 0
    for as many as pay; the settings ``draft_...`` and ``canvas_threshold``: see `Drafting`, None for what pays on the
    device; ``entropy_bound``, or a ``threshold`` of probability if it is not 0: of the decoder without verifying;
    ``refresh``: passes after which a context that sees the canvas is read again; ``here``: nothing of the prompt may be
    sent to a hosted model, whatever the settings are by now; ``temperature``: above 0 tokens are drawn, by ``seed``,
    where they are verified or autoregressive, and else taken as the likeliest."""

    mode: str = "diffusion"
    verify: bool = True
    block: int = 0
    max_tokens: int = 64
    max_passes: int = 64
    draft_surety: float = DRAFT_SURETY
    draft_lookup: int = DRAFT_LOOKUP
    draft_slack: float = 0.0
    draft_trust: float = DRAFT_TRUST
    canvas_threshold: float | None = None
    entropy_bound: float = ENTROPY_BOUND
    threshold: float = 0.0
    refresh: int = 8
    single_line: bool = False
    here: bool = False
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """Where a line of a middle ends: ``end``, characters of the text before its new line; ``tokens`` up to that, with
    the one that has the new line, and the sum of their log-probabilities."""

    end: int
    tokens: int
    logp: float


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of a middle: ``end``, characters of the text up to its own end; ``logp``, the natural logarithm of its
    probability given all before it."""

    end: int
    logp: float


@dataclass(frozen=True, slots=True)
class Infill:
    """A middle. Tokens are the visible ones and the end, where there is one; forward passes exclude the prefill's.

    ``confidence``: geometric mean probability of the tokens when committed; by convention 1.0 where the model is
    elsewhere and tells none, so that what it writes is shown whatever `show_likelihood` is, and nothing is said of how
    likely it is. ``finished``: ended by ``<eot>`` or a line's end, not by a limit; ``lines``: all but the last;
    ``scored``: the tokens of the text, none where the model tells no probabilities; ``source``: the path of the file of
    the project that speaks for it, or empty.
    """

    text: str
    tokens: int
    steps: int
    forward_passes: int
    ms: float
    ms_prefill: float
    ms_denoise: float
    cached_tokens: int
    prompt_tokens: int
    confidence: float
    finished: bool
    lines: tuple[Line, ...] = ()
    scored: tuple[ScoredToken, ...] = ()
    source: str = ""

    def until(self, end: int) -> Infill:
        """Its first ``end`` characters, as if it had ended there, with the tokens that begin before that.

        What it cost stays what the whole has cost.
        """
        if end >= len(self.text):
            return self
        count = 1 + sum(piece.end < end for piece in self.scored)
        pieces = self.scored[:count]
        logp = sum(piece.logp for piece in pieces)
        return replace(
            self,
            text=self.text[:end],
            tokens=len(pieces),
            confidence=math.exp(logp / len(pieces)) if pieces else self.confidence,
            finished=True,
            lines=tuple(line for line in self.lines if line.end < end),
            scored=pieces,
        )

    def first(self, count: int) -> Infill:
        """Its first ``count`` lines, as if it had ended with them: the token that ends the last one counts as the end.

        What it cost stays what the whole has cost. More lines than there are give all of it.
        """
        if count > len(self.lines):
            return self
        line = self.lines[count - 1]
        return replace(
            self,
            text=self.text[: line.end],
            tokens=line.tokens,
            confidence=math.exp(line.logp / line.tokens),
            finished=True,
            lines=self.lines[: count - 1],
            scored=tuple(piece for piece in self.scored if piece.end <= line.end),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """A middle while it sharpens: `UNDECIDED` stands for each token that is still masked.

    ``committed``: what there would be if it ended here; of it nothing changes any more.
    """

    text: str
    decided: int
    total: int
    forward_passes: int
    committed: Infill


def never() -> bool:
    """Not cancelled."""
    return False


class Engine(Protocol):
    """A loaded model, or the way to one elsewhere; for one thread at a time. ``device``: cpu, cuda, mps or remote."""

    name: str
    device: str
    threads: int

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The tokens of a project memory that takes part; None where none does."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text, or about how many."""
        ...

    def stem_start(self, text: str) -> int:
        """Index at which the stem of a text begins: what is behind it the engine generates again, see `Prompt`."""
        ...

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool] = never, least: int = 1) -> int:
        """Read a prompt ahead of its infilling, unless fewer tokens than ``least`` have to be read.

        Returns how many were read: 0 where reading ahead gains nothing. Raises `Cancelled`.
        """
        ...

    def infill(
        self,
        prompt: Prompt,
        sampling: Sampling,
        cancelled: Callable[[], bool] = never,
        on_progress: Callable[[Progress], None] | None = None,
        hint: Hint | None = None,
        memory: Memory | None = None,
    ) -> Infill:
        """Fill in the middle of a prompt. Raises `Cancelled` soon after ``cancelled()`` is true."""
        ...

    def alternatives(
        self,
        prompt: Prompt,
        sampling: Sampling,
        first: Infill,
        cancelled: Callable[[], bool] = never,
        memory: Memory | None = None,
    ) -> Iterator[Infill]:
        """Other middles than ``first``, the prompt's `infill`, if any. Raises `Cancelled`."""
        ...
