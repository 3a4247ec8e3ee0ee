"""Decodes a middle behind a prompt that has been read, with the values that every decoder shares.

`decode_block_diffusion` is plain block diffusion, where entropy alone decides what is committed.
`decode_autoregressive` is the autoregressive baseline. The default, which drafts and verifies, is `speculative`. All
of them begin with the stem, see `healing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.passes import CachedModel
from mercury_lsp.engine.decoding.denoise import CommitRule, denoise
from mercury_lsp.engine.decoding.healing import Stem
from mercury_lsp.engine.decoding.memory_view import MemoryView
from mercury_lsp.engine.decoding.sampling import Pick, greedy
from mercury_lsp.engine.worker import Cancelled

OnTokens = Callable[[Sequence[int], Sequence[int | None], Sequence[float]], None]
"""Told of each draft: the committed tokens, those behind them, None where undecided, and the committed ones' logp."""


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """Decoded tokens without their end, those of the stem first. ``logp``: theirs, and the end's if they ``finished``;
    ``steps``: rounds of drafting or choosing, a pass each, without the passes that only read.

    ``opening``: (m, V) the model's log-probabilities of its first tokens, as they are without stem and memory.
    """

    tokens: list[int]
    logp: list[float]
    steps: int
    finished: bool
    opening: NDArray[np.float32] | None = None


@dataclass(slots=True)
class DecodeBudget:
    """Counts the passes of one decoding and says when to stop."""

    most: int
    tokens: int
    cancelled: Callable[[], bool]
    passes: int = 0
    prefilled: float = 0.0

    def prefill_ends(self) -> None:
        """The prompt has been read; the passes from here on count."""
        self.prefilled = time.perf_counter()

    def may_go_on(self) -> bool:
        """Asked before each pass. Raises `Cancelled`."""
        if self.cancelled():
            raise Cancelled
        return self.passes < self.most


@dataclass(frozen=True, slots=True)
class StopCondition:
    """One of ``tokens`` ends a middle; where one line is wanted, so does a line's end behind its first token.

    ``before``: tokens of the middle that stand before those which are decoded.
    """

    tokens: frozenset[int]
    newlines: frozenset[int]
    before: int = 0

    def __call__(self, index: int, token: int) -> bool:
        """Whether ``token`` ends the text when ``index`` decoded tokens stand before it."""
        return token in self.tokens or (index + self.before > 0 and token in self.newlines)

    def behind(self, hidden: int) -> StopCondition:
        """The same where ``hidden`` first tokens are the stem's: a line's end in or right behind these is none."""
        return replace(self, before=self.before - hidden)


def decode_block_diffusion(
    passes: CachedModel,
    tail: Sequence[int],
    mask: int,
    block: int,
    commit_rule: CommitRule,
    ends: StopCondition,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
) -> DecodeResult:
    """Denoise block after block, committing what ``commit_rule`` lets through; see `denoise`.

    The stem comes first, token by token, by the causal rows.
    """
    last = passes.read(tail, budget.cancelled)
    budget.prefill_ends()
    tokens: list[int] = []
    logp: list[float] = []
    whole = stem
    while stem.open:
        if len(tokens) >= budget.tokens or not budget.may_go_on():
            return DecodeResult(tokens, logp, budget.passes, False)
        (token,), (sure,) = greedy(stem.restrict(passes.scores(last)), len(tokens))
        tokens.append(token)
        logp.append(sure)
        stem = stem.behind([token])
        budget.passes += 1
        last = passes.read([token], budget.cancelled)
    steps = budget.passes
    ends = ends.behind(whole.hidden(tokens))
    while len(tokens) < budget.tokens:
        size = min(block, budget.tokens - len(tokens))
        rows = TokenLayout.block(len(passes.cache.ids), size)
        anchor, before = passes.cache.ids[-1], tuple(tokens)

        def predict(
            draft: Sequence[int | None], rows: TokenLayout = rows, anchor: int = anchor
        ) -> NDArray[np.float32]:
            budget.passes += 1
            hidden = passes.run([anchor, *(mask if token is None else token for token in draft)], rows)
            return passes.scores(
                hidden[[i for i, token in enumerate(draft) if token is None]]
            )  # row i predicts i

        def ends_here(index: int, token: int, before: Sequence[int] = before) -> bool:
            return ends(len(before) + index, token)

        def seen(
            draft: Sequence[int | None], before: Sequence[int] = before, sure: Sequence[float] = tuple(logp)
        ) -> None:
            on_progress(before, draft, sure)

        done = denoise(predict, size, ends_here, commit_rule, budget.may_go_on, stem, seen)
        tokens += done.tokens
        logp += done.logp
        steps += done.passes
        if done.ended or not done.full or not budget.may_go_on():
            return DecodeResult(tokens, logp, steps, done.ended)
        if len(tokens) < budget.tokens:
            budget.passes += 1
            passes.read(done.tokens, budget.cancelled)
    return DecodeResult(tokens, logp, steps, False)


def decode_autoregressive(
    passes: CachedModel,
    tail: Sequence[int],
    ends: StopCondition,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
    pick: Pick = greedy,
    memory: MemoryView | None = None,
) -> DecodeResult:
    """One token a pass, from left to right. The prompt's last row gives the first."""
    last = passes.read(tail, budget.cancelled)
    budget.prefill_ends()
    tokens: list[int] = []
    logp: list[float] = []
    opening: NDArray[np.float32] | None = None
    while True:
        scores = passes.scores(last)
        if opening is None:
            opening = scores.copy()
        left = stem.behind(tokens)
        if memory is not None:
            scores = memory.mix(scores, tokens)
        (token,), (sure,) = pick(left.restrict(scores), len(tokens))
        if ends.behind(stem.hidden(tokens))(len(tokens), token):
            return DecodeResult(tokens, [*logp, sure], budget.passes, True, opening)
        if len(tokens) >= budget.tokens or not budget.may_go_on():
            return DecodeResult(tokens, logp, budget.passes, False, opening)
        tokens.append(token)
        logp.append(sure)
        budget.passes += 1
        last = passes.read([token], budget.cancelled)
        on_progress(tokens, (), logp)
