"""Decoding from left to right in blocks, by models whose rows see their own block both ways and all blocks before.

Owns the reading of whole blocks into the cache, which is exact, as no block sees a later one, and the loop over the
blocks of a middle. Blocks are counted from a sequence's first position, so that the first of a middle may begin with
the prompt's end. Knows tokens only. After BD3-LM (Arriola et al. 2025); the shift is Fast-dLLM v2's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.passes import CHUNK, CachedModel
from mercury_lsp.engine.decoding.decode import DecodeBudget, DecodeResult, OnTokens
from mercury_lsp.engine.decoding.denoise import CommitRule, StopCondition, denoise
from mercury_lsp.engine.decoding.healing import Stem
from mercury_lsp.engine.worker import Cancelled

Scores = NDArray[np.float32]


class Blocks:
    """Passes over whole blocks. ``shift``: row i foretells token i + 1, else its own."""

    def __init__(self, passes: CachedModel, block: int, mask: int, shift: bool) -> None:
        self.passes = passes
        self.block, self.mask, self.shift = block, mask, shift

    def reuse(self, ids: Sequence[int]) -> int:
        """Forget all but the whole blocks that ``ids`` begins with too; returns how many tokens these are.

        With the shift at least one token is left to be read: its row foretells what follows.
        """
        kept = self.passes.cache.reuse(ids[:-1] if self.shift else ids)
        whole = kept // self.block * self.block
        self.passes.cache.reuse(ids[:whole])
        return whole

    def read(self, ids: Sequence[int], cancelled: Callable[[], bool]) -> Scores | None:
        """Read and keep whole blocks. Returns what the last row foretells with the shift (1, V), if any were read.

        Raises `Cancelled` between two chunks; what was read by then stays.
        """
        chunk = max(CHUNK // self.block, 1) * self.block
        last = None
        for at in range(0, len(ids), chunk):
            if cancelled():
                raise Cancelled
            part = ids[at : at + chunk]
            last = self.passes.run(part, whole(len(self.passes.cache.ids), len(part), self.block))[-1:]
            self.passes.cache.keep(part)
        return None if last is None or not self.shift else self.passes.scores(last).copy()

    def scores(self, known: Sequence[int], canvas: Sequence[int | None], before: Scores | None) -> Scores:
        """One pass over a block of known tokens and a canvas: what it foretells of the undecided. (n, V)

        before: what the row before the block foretells.
        """
        first = len(self.passes.cache.ids)
        ids = [*known, *(self.mask if token is None else token for token in canvas)]
        hidden = self.passes.run(ids, one(first, len(ids)))
        rows = [len(known) + i - self.shift for i, token in enumerate(canvas) if token is None]
        if rows[0] >= 0:
            return self.passes.scores(hidden[rows])
        assert before is not None, "the block before was read"
        if len(rows) == 1:
            return before
        return np.concatenate([before, self.passes.scores(hidden[rows[1:]])])


def whole(first: int, count: int, block: int) -> TokenLayout:
    """Rows of known tokens of whole blocks, which will be kept: each sees all up to its block's end."""
    position = np.arange(first, first + count)
    zero, start = np.zeros_like(position), (position // block + 1) * block
    return TokenLayout(position, start, zero, zero, start)


def one(first: int, count: int) -> TokenLayout:
    """Rows of one block that will not be kept: it sees all before it and itself."""
    position = np.arange(first, first + count)
    zero, start = np.zeros_like(position), np.full_like(position, first)
    return TokenLayout(position, start, zero + 1, zero, start)


def in_blocks(
    blocks: Blocks,
    ids: Sequence[int],
    ends: StopCondition,
    commit_rule: CommitRule,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
) -> DecodeResult:
    """Decode behind a prompt, of which the cache has whole blocks already: see `Blocks.reuse`."""
    kept, size = len(blocks.passes.cache.ids), blocks.block
    head = len(ids) // size * size
    before = blocks.read(ids[kept:head], budget.cancelled)
    budget.prefill_ends()
    known, tokens, logp, steps = list(ids[head:]), list[int](), list[float](), 0
    while len(tokens) < budget.tokens:
        done_before = tuple(tokens)

        def predict(
            canvas: Sequence[int | None], known: Sequence[int] = tuple(known), before: Scores | None = before
        ) -> Scores:
            budget.passes += 1
            return blocks.scores(known, canvas, before)

        def ends_here(index: int, token: int, count: int = len(tokens) - stem.hidden(tokens)) -> bool:
            return ends(count + index, token)

        def seen(
            canvas: Sequence[int | None],
            committed: Sequence[int] = done_before,
            sure: Sequence[float] = tuple(logp),
        ) -> None:
            on_progress(committed, canvas, sure)

        done = denoise(
            predict, size - len(known), ends_here, commit_rule, budget.may_go_on, stem.behind(tokens), seen
        )
        tokens += done.tokens
        logp += done.logp
        steps += done.passes
        fits = len(tokens) <= budget.tokens
        if done.ended or not done.full or len(tokens) >= budget.tokens or not budget.may_go_on():
            if not fits:
                tokens, logp = tokens[: budget.tokens], logp[: budget.tokens]
            return DecodeResult(tokens, logp, steps, done.ended and fits)
        budget.passes += 1
        before = blocks.read([*known, *done.tokens], budget.cancelled)
        known = []
    return DecodeResult(tokens, logp, steps, False)
