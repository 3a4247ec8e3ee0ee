"""Defines the protocol of an engine, and the values that go in and come out.

The engine of our own checkpoints (`local_engine`), of open models (`open_models.engine`) and of hosted models
(`remote.engine`) have this protocol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from mercury_lsp.engine.tokenizer import Hint, Prompt, Vocabulary

if TYPE_CHECKING:
    from mercury_lsp.engine.decoding.mixture import Memory

UNDECIDED = "░"
MODES = ("diffusion", "autoregressive")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to infill.

    ``mode``: one of `MODES`. ``verify``: whether diffusion drafts are verified, see `speculative`.
    ``block``: tokens of a canvas; 0 for the device's default. ``max_tokens``, ``max_passes``: limits of one middle.
    ``draft_...`` and ``canvas_threshold``: see `Drafting`; None for the device's default. ``entropy_bound`` in nats, or
    a ``threshold`` of probability if that is not 0: what a pass commits without verifying. ``refresh``: the number of
    passes after which a context that sees the canvas is read again. ``here``: the prompt must not be sent to a hosted
    model. ``temperature``: 0 takes the likeliest token; above 0 a verified or autoregressive token is drawn, by
    ``seed``.
    """

    mode: str = "diffusion"
    verify: bool = True
    block: int = 0
    max_tokens: int = 64
    max_passes: int = 64
    draft_surety: float | None = None
    draft_lookup: int = 2
    draft_slack: float = 0.0
    draft_trust: float = 1.0
    canvas_threshold: float | None = None
    entropy_bound: float = 0.3
    threshold: float = 0.0
    refresh: int = 8
    single_line: bool = False
    here: bool = False
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """The end of a line of a middle.

    ``end``: characters of the text before the newline; ``tokens``: tokens up to and including the one with the newline;
    ``logp``: the sum of their log-probabilities in nats.
    """

    end: int
    tokens: int
    logp: float


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of a middle.

    ``end``: characters of the text up to the token's end; ``logp``: natural logarithm of its probability given all
    tokens before it.
    """

    end: int
    logp: float


@dataclass(frozen=True, slots=True)
class Infill:
    """A middle, with its cost in tokens, passes and milliseconds.

    ``tokens`` counts the visible tokens and the stop token, if there is one; ``forward_passes`` excludes the prefill.
    ``confidence``: geometric mean probability of the tokens when committed; 1.0 by convention if a hosted model returns
    no probabilities, so that `show_likelihood` never hides its text. ``finished``: ended by a stop token or by the end
    of a line, not by a limit. ``lines``: all lines but the last. ``scored``: the tokens of the text; empty if the model
    returns no probabilities. ``source``: the path of the project's file that made the middle likelier, or empty.
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
        """The first ``end`` characters, as if the middle had ended there, with the tokens that begin before ``end``.

        The cost stays that of the whole middle.
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
        """The first ``count`` lines, as if the middle had ended with them; all of it if it has no more lines.

        The token with the last newline counts as the stop token. The cost stays that of the whole middle.
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
    """A middle while it is denoised: `UNDECIDED` stands for each token that is still masked.

    ``committed``: the middle if it ended here; this part does not change any more.
    """

    text: str
    decided: int
    total: int
    forward_passes: int
    committed: Infill


def never_cancelled() -> bool:
    """Return False: the `cancelled` of a caller that never cancels."""
    return False


@dataclass(frozen=True, slots=True)
class Run:
    """How a middle is computed.

    ``cancelled``: asked between two passes. ``on_progress``: receives each draft. ``hint``: an earlier middle at this
    place, which may save passes. ``memory``: continuations in the project, which are mixed with the model's scores.
    """

    cancelled: Callable[[], bool] = never_cancelled
    on_progress: Callable[[Progress], None] | None = None
    hint: Hint | None = None
    memory: Memory | None = None


ALONE = Run()
"""A run that nobody cancels or watches, without a hint and a memory."""


class Engine(Protocol):
    """A loaded model, or the client of a hosted one; for one thread at a time. ``device``: cpu, cuda, mps or remote.

    An engine that derives from this class uses no memory, reads nothing ahead and has no alternatives.
    """

    name: str
    device: str
    threads: int

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary that a project memory must use; None if the engine uses no memory."""
        return None

    def count(self, text: str) -> int:
        """The number of tokens in a text; an estimate for hosted models."""

    def stem_start(self, text: str) -> int:
        """Index at which the stem of a text begins: the engine generates the stem again, see `Prompt`."""

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool] = never_cancelled, least: int = 1) -> int:
        """Prefill a prompt before its infilling, unless fewer tokens than ``least`` are missing from the cache.

        Returns the number of tokens that were read: 0 if a prefill gains nothing. Raises `Cancelled`.
        """
        return 0

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = ALONE) -> Infill:
        """Fill in the middle of a prompt. Raises `Cancelled` soon after ``run.cancelled()`` turns true."""

    def alternatives(
        self, prompt: Prompt, sampling: Sampling, first: Infill, run: Run = ALONE
    ) -> Iterator[Infill]:
        """Other middles than ``first``, the result of `infill` for the prompt. Raises `Cancelled`."""
        return iter(())
