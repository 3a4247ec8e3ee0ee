"""Defines the protocol of an engine, and its input and output values.

Three engines implement the protocol: `local_engine` for our own checkpoints and open autoregressive models,
`open_models.engine` for open diffusion models, and `remote.engine` for hosted models.
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
    """The decoding settings of one infill.

    ``mode``: one of `MODES`. ``verify``: whether diffusion drafts are verified, see `speculative`. ``block``: tokens of
    a canvas; 0 for the device's default. ``max_tokens``, ``max_passes``: limits of one middle. ``draft_...`` and
    ``canvas_threshold``: see `Drafting`; None for the device's default. ``entropy_bound``: in nats, limits what a pass
    commits without verification; a nonzero ``threshold``, a probability, replaces it. ``refresh``: the number of passes
    after which a context that sees the canvas is read again. ``local_only``: the prompt must not be sent to a hosted
    model. ``temperature``: at 0 the likeliest token is taken; above 0 verified and autoregressive tokens are sampled
    with ``seed``.
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
    local_only: bool = False
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """The end of a line of a middle.

    ``end``: characters of the text before the newline; ``tokens``: number of tokens up to and including the token with
    the newline; ``logp``: the sum of their log-probabilities in nats.
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
    """An infilled middle, with its cost in tokens, passes and milliseconds.

    ``tokens`` counts the visible tokens and the stop token, if there is one; ``forward_passes`` excludes the prefill.
    ``confidence``: geometric mean probability of the tokens when committed; 1.0 by convention if a hosted model returns
    no probabilities, so that `show_likelihood` never hides its text. ``finished``: whether a stop token or the end of a
    line ended the middle, rather than a limit. ``lines``: all lines except the last. ``scored``: the text's tokens;
    empty if the model returns no probabilities. ``source``: the path of the project's file that made the middle
    likelier, or empty.
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

    def cut_at(self, end: int) -> Infill:
        """Return the infill cut after ``end`` characters, as if the middle had ended there.

        Tokens that begin before ``end`` are kept. The cost remains that of the whole middle.
        """
        if end >= len(self.text):
            return self
        count = 1 + sum(token.end < end for token in self.scored)
        tokens = self.scored[:count]
        logp = sum(token.logp for token in tokens)
        return replace(
            self,
            text=self.text[:end],
            tokens=len(tokens),
            confidence=math.exp(logp / len(tokens)) if tokens else self.confidence,
            finished=True,
            lines=tuple(line for line in self.lines if line.end < end),
            scored=tokens,
        )

    def first_lines(self, count: int) -> Infill:
        """Return the infill cut after ``count`` lines, as if the middle had ended there; unchanged if it is shorter.

        The token with the last newline counts as the stop token. The cost remains that of the whole middle.
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
            scored=tuple(token for token in self.scored if token.end <= line.end),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a middle that is being decoded; `UNDECIDED` stands for each token that is still masked.

    ``committed``: the committed part as an infill of its own; it does not change after that.
    """

    text: str
    decided: int
    total: int
    forward_passes: int
    committed: Infill


def never_cancelled() -> bool:
    """Return False; the default `cancelled`, for callers that never cancel."""
    return False


@dataclass(frozen=True, slots=True)
class Run:
    """The callbacks and optional inputs of one `infill`.

    ``cancelled``: called between two passes; returns whether to stop. ``on_progress``: called with the `Progress` after
    each pass. ``hint``: an earlier middle at this place, which may save passes. ``memory``: the project memory, which
    is mixed with the model's scores.
    """

    cancelled: Callable[[], bool] = never_cancelled
    on_progress: Callable[[Progress], None] | None = None
    hint: Hint | None = None
    memory: Memory | None = None


DEFAULT_RUN = Run()
"""A run without cancellation, progress, hint or memory."""


class Engine(Protocol):
    """A loaded model, or the client of a hosted model; used by one thread at a time.

    ``device``: cpu, cuda, mps or remote. By default an engine uses no memory, prefills nothing and has no alternatives.
    """

    name: str
    device: str
    threads: int

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary that the project memory must use; None if the engine uses no memory."""
        return None

    def count(self, text: str) -> int:
        """Return the number of tokens in a text; an estimate for hosted models."""

    def stem_start(self, text: str) -> int:
        """Return the index at which the stem of a text begins; the engine generates the stem again, see `Prompt`."""

    def prefill(
        self, prompt: Prompt, cancelled: Callable[[], bool] = never_cancelled, min_tokens: int = 1
    ) -> int:
        """Prefill a prompt before `infill`, unless fewer than ``min_tokens`` of its tokens are missing from the cache.

        Returns the number of tokens that were read; 0 if a prefill gains nothing. Raises `Cancelled`.
        """
        return 0

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = DEFAULT_RUN) -> Infill:
        """Fill in the middle of a prompt. Raises `Cancelled` soon after ``run.cancelled()`` turns true."""

    def alternatives(
        self, prompt: Prompt, sampling: Sampling, first: Infill, run: Run = DEFAULT_RUN
    ) -> Iterator[Infill]:
        """Yield middles other than ``first``, the result of `infill` for the prompt. Raises `Cancelled`."""
        return iter(())
