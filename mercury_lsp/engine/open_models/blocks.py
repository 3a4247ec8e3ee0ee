"""Decodes from left to right in blocks, with models whose rows see all of their own block and all earlier blocks.

Whole blocks are kept in the cache, which is exact, because no block sees a later block. Blocks are counted from the
first position of the sequence, so that the first block of a middle may begin with the end of the prompt. Based on
BD3-LM (Arriola et al. 2025); the shift is that of Fast-dLLM v2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.kv_cache import PREFILL_CHUNK_ROWS, CachedModel
from mercury_lsp.engine.decoding.decode import DecodeBudget, DecodeResult, OnTokens
from mercury_lsp.engine.decoding.denoise import CommitRule, EndsText, denoise
from mercury_lsp.engine.decoding.healing import Stem
from mercury_lsp.engine.worker import Cancelled

Scores = NDArray[np.float32]


class Blocks:
    """Runs passes over whole blocks. ``shift``: whether row i predicts token i + 1, or else token i."""

    def __init__(self, passes: CachedModel, block: int, mask: int, shift: bool) -> None:
        self.passes = passes
        self.block, self.mask, self.shift = block, mask, shift

    def reuse(self, ids: Sequence[int]) -> int:
        """Keep only the cached whole blocks at the start of ``ids``; return the number of their tokens.

        With the shift, at least one token stays unread, because its row predicts the next token.
        """
        common = self.passes.reuse(ids[:-1] if self.shift else ids)
        layout_of_whole_blocks = common // self.block * self.block
        self.passes.reuse(ids[:layout_of_whole_blocks])
        return layout_of_whole_blocks

    def read(self, ids: Sequence[int], cancelled: Callable[[], bool]) -> Scores | None:
        """Read and keep whole blocks; with the shift, return the last row's prediction (1, V) if there is any block.

        Raises `Cancelled` between two chunks; the blocks read by then stay in the cache.
        """
        chunk = max(PREFILL_CHUNK_ROWS // self.block, 1) * self.block
        last = None
        for at in range(0, len(ids), chunk):
            if cancelled():
                raise Cancelled
            part = ids[at : at + chunk]
            layout = layout_of_whole_blocks(len(self.passes.ids), len(part), self.block)
            last = self.passes.run(part, layout)[-1:]
            self.passes.keep(part)
        return None if last is None or not self.shift else self.passes.scores(last).copy()

    def scores(self, known: Sequence[int], canvas: Sequence[int | None], before: Scores | None) -> Scores:
        """Run one pass over a block of known tokens and a canvas; return the predictions (n, V) of undecided positions.

        before: the prediction of the row before the block, which the shift needs if no token of the block is known.
        """
        first = len(self.passes.ids)
        ids = [*known, *(self.mask if token is None else token for token in canvas)]
        hidden = self.passes.run(ids, layout_of_open_block(first, len(ids)))
        rows = [len(known) + i - self.shift for i, token in enumerate(canvas) if token is None]
        if rows[0] >= 0:
            return self.passes.scores(hidden[rows])
        assert before is not None, "the block before was read"
        if len(rows) == 1:
            return before
        return np.concatenate([before, self.passes.scores(hidden[rows[1:]])])


def layout_of_whole_blocks(first: int, count: int, block: int) -> TokenLayout:
    """Return the rows of whole blocks, which will be kept: each sees all positions up to its block's end."""
    position = np.arange(first, first + count)
    zero, start = np.zeros_like(position), (position // block + 1) * block
    return TokenLayout(position, start, zero, zero, start)


def layout_of_open_block(first: int, count: int) -> TokenLayout:
    """Return the rows of a block that will not be kept: each sees all positions before the block, and the block."""
    position = np.arange(first, first + count)
    zero, start = np.zeros_like(position), np.full_like(position, first)
    return TokenLayout(position, start, zero + 1, zero, start)


def decode_in_blocks(
    blocks: Blocks,
    ids: Sequence[int],
    ends: EndsText,
    commit_rule: CommitRule,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
) -> DecodeResult:
    """Decode after a prompt whose first whole blocks are in the cache, see `Blocks.reuse`."""
    cached, size = len(blocks.passes.ids), blocks.block
    head = len(ids) // size * size
    before = blocks.read(ids[cached:head], budget.cancelled)
    budget.prefill_ends()
    known, tokens, logp, steps = list(ids[head:]), list[int](), list[float](), 0
    while len(tokens) < budget.max_tokens:
        done_before = tuple(tokens)

        def predict(
            canvas: Sequence[int | None], known: Sequence[int] = tuple(known), before: Scores | None = before
        ) -> Scores:
            budget.passes += 1
            return blocks.scores(known, canvas, before)

        def ends_here(index: int, token: int, count: int = len(tokens) - stem.hidden(tokens)) -> bool:
            return ends(count + index, token)

        def report(
            canvas: Sequence[int | None],
            committed: Sequence[int] = done_before,
            sure: Sequence[float] = tuple(logp),
        ) -> None:
            on_progress(committed, canvas, sure)

        done = denoise(
            predict, size - len(known), ends_here, commit_rule, budget.may_go_on, stem.after(tokens), report
        )
        tokens += done.tokens
        logp += done.logp
        steps += done.passes
        fits = len(tokens) <= budget.max_tokens
        if done.ended or not done.full or len(tokens) >= budget.max_tokens or not budget.may_go_on():
            if not fits:
                tokens, logp = tokens[: budget.max_tokens], logp[: budget.max_tokens]
            return DecodeResult(tokens, logp, steps, done.ended and fits)
        budget.passes += 1
        before = blocks.read([*known, *done.tokens], budget.cancelled)
        known = []
    return DecodeResult(tokens, logp, steps, False)
