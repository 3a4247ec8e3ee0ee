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
from mercury_lsp.engine.decoding.denoise import CommitRule, IsStop, denoise
from mercury_lsp.engine.decoding.healing import Stem
from mercury_lsp.engine.worker import Cancelled

Scores = NDArray[np.float32]


class BlockModel:
    """Runs passes over whole blocks. ``shift``: whether row i predicts token i + 1, or else token i."""

    def __init__(self, cached_model: CachedModel, block_size: int, mask: int, shift: bool) -> None:
        self.cached_model = cached_model
        self.block_size, self.mask, self.shift = block_size, mask, shift

    def reuse(self, ids: Sequence[int]) -> int:
        """Keep only the cached whole blocks at the start of ``ids``; return the number of their tokens.

        With the shift, at least one token stays unread, because its row predicts the next token.
        """
        common = self.cached_model.reuse(ids[:-1] if self.shift else ids)
        cached_tokens = common // self.block_size * self.block_size
        self.cached_model.reuse(ids[:cached_tokens])
        return cached_tokens

    def extend(self, ids: Sequence[int], cancelled: Callable[[], bool]) -> Scores | None:
        """Read and keep whole blocks; with the shift, return the last row's prediction (1, V) if there is any block.

        Raises `Cancelled` between two chunks; the blocks read by then stay in the cache.
        """
        chunk = max(PREFILL_CHUNK_ROWS // self.block_size, 1) * self.block_size
        last = None
        for at in range(0, len(ids), chunk):
            if cancelled():
                raise Cancelled
            part = ids[at : at + chunk]
            layout = whole_blocks_layout(len(self.cached_model.ids), len(part), self.block_size)
            last = self.cached_model.run(part, layout)[-1:]
            self.cached_model.keep(part)
        return None if last is None or not self.shift else self.cached_model.scores(last).copy()

    def scores(self, known: Sequence[int], canvas: Sequence[int | None], before: Scores | None) -> Scores:
        """Run one pass over a block of known tokens and a canvas; return the predictions (n, V) of undecided positions.

        before: the prediction of the row before the block, which the shift needs if no token of the block is known.
        """
        first = len(self.cached_model.ids)
        ids = [*known, *(self.mask if token is None else token for token in canvas)]
        hidden = self.cached_model.run(ids, open_block_layout(first, len(ids)))
        rows = [len(known) + i - self.shift for i, token in enumerate(canvas) if token is None]
        if rows[0] >= 0:
            return self.cached_model.scores(hidden[rows])
        assert before is not None, "the block before was read"
        if len(rows) == 1:
            return before
        return np.concatenate([before, self.cached_model.scores(hidden[rows[1:]])])


def whole_blocks_layout(first: int, count: int, block_size: int) -> TokenLayout:
    """Return the rows of whole blocks, which will be kept: each sees all positions up to its block's end."""
    position = np.arange(first, first + count)
    zero, start = np.zeros_like(position), (position // block_size + 1) * block_size
    return TokenLayout(position, start, zero, zero, start)


def open_block_layout(first: int, count: int) -> TokenLayout:
    """Return the rows of a block that will not be kept: each sees all positions before the block, and the block."""
    position = np.arange(first, first + count)
    zero, start = np.zeros_like(position), np.full_like(position, first)
    return TokenLayout(position, start, zero + 1, zero, start)


def decode_in_blocks(
    model: BlockModel,
    ids: Sequence[int],
    is_stop: IsStop,
    commit_rule: CommitRule,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
) -> DecodeResult:
    """Decode after a prompt whose first whole blocks are in the cache, see `BlockModel.reuse`."""
    cached, size = len(model.cached_model.ids), model.block_size
    head = len(ids) // size * size
    before = model.extend(ids[cached:head], budget.cancelled)
    budget.mark_prefilled()
    known, tokens, logp, steps = list(ids[head:]), list[int](), list[float](), 0
    while len(tokens) < budget.max_tokens:
        committed = tuple(tokens)

        def predict(
            canvas: Sequence[int | None], known: Sequence[int] = tuple(known), before: Scores | None = before
        ) -> Scores:
            budget.passes += 1
            return model.scores(known, canvas, before)

        def is_stop_in_block(
            index: int, token: int, count: int = len(tokens) - stem.count_hidden(tokens)
        ) -> bool:
            return is_stop(count + index, token)

        def report(
            canvas: Sequence[int | None],
            committed: Sequence[int] = committed,
            committed_logp: Sequence[float] = tuple(logp),
        ) -> None:
            on_progress(committed, canvas, committed_logp)

        denoised = denoise(
            predict,
            size - len(known),
            is_stop_in_block,
            commit_rule,
            budget.allows_pass,
            stem.after(tokens),
            report,
        )
        tokens += denoised.tokens
        logp += denoised.logp
        steps += denoised.passes
        fits = len(tokens) <= budget.max_tokens
        if (
            denoised.ended
            or not denoised.full
            or len(tokens) >= budget.max_tokens
            or not budget.allows_pass()
        ):
            if not fits:
                tokens, logp = tokens[: budget.max_tokens], logp[: budget.max_tokens]
            return DecodeResult(tokens, logp, steps, denoised.ended and fits)
        budget.passes += 1
        before = model.extend([*known, *denoised.tokens], budget.cancelled)
        known = []
    return DecodeResult(tokens, logp, steps, False)
