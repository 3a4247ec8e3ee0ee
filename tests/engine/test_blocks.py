"""Decoding block by block from left to right: reading all rows at once, in parts or from the cache is equivalent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from support.models.stems import NO_STEM
from support.models.tiny_models import tiny_network

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.kv_cache import CachedModel
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.decoding.decode import DecodeBudget
from mercury_lsp.engine.decoding.denoise import CommitRule, entropy_bound
from mercury_lsp.engine.open_models.blocks import (
    BlockModel,
    decode_in_blocks,
    open_block_layout,
    whole_blocks_layout,
)
from mercury_lsp.engine.worker import Cancelled

IDS = np.random.default_rng(0).integers(17, 49152, 40).tolist()
MASK, BLOCK = 1, 4
with_and_without_shift = pytest.mark.parametrize("shift", [True, False])


def new_blocks(shift: bool = True, size: int = BLOCK) -> BlockModel:
    return BlockModel(CachedModel(TorchExecutor(tiny_network(), [MASK], "cpu", 1)), size, MASK, shift)


def never() -> bool:
    return False


def test_rows_of_whole_blocks_attend_to_their_block_and_to_earlier_blocks() -> None:
    rows = whole_blocks_layout(8, 8, BLOCK)
    seen = attention_mask(rows, TokenLayout.join(TokenLayout.clean(0, 8), rows))
    assert seen[0].tolist() == [True] * 12 + [False] * 4
    assert seen[3].tolist() == seen[0].tolist()
    assert seen[4].all()
    last = open_block_layout(12, BLOCK)
    assert attention_mask(last, TokenLayout.join(TokenLayout.clean(0, 12), last)).all()


@with_and_without_shift
def test_scores_of_a_block_equal_the_scores_of_one_pass_over_all_rows(shift: bool) -> None:
    network = tiny_network()
    rows = whole_blocks_layout(0, 12, BLOCK)
    ids = [*IDS[:10], MASK, MASK]
    mask = torch.from_numpy(attention_mask(rows, rows))[None]
    with torch.no_grad():
        hidden = network(torch.tensor([ids]), torch.arange(12)[None], mask)[0]
        logits = network.logits(hidden)
    logits[:, MASK] = -torch.inf
    wanted = logits.log_softmax(-1)[[9, 10] if shift else [10, 11]]
    read = new_blocks(shift)
    before = read.extend(IDS[:8], never)
    assert (before is not None) == shift
    got = read.scores(IDS[8:10], [None, None], before)
    torch.testing.assert_close(torch.from_numpy(got.copy()), wanted, atol=1e-3, rtol=0)
    if shift:
        # The last row of the block before predicts a block's first token.
        first = read.scores([], [None, 5, 6, 7], before)
        torch.testing.assert_close(torch.from_numpy(first.copy()), torch.from_numpy(before))
        both = read.scores([], [None, 5, None, 7], before)
        assert both.shape[0] == 2


@with_and_without_shift
@pytest.mark.parametrize("length", [3, 8, 9, 11])
def test_a_used_cache_does_not_change_the_middle(shift: bool, length: int) -> None:
    def decode(read: BlockModel) -> tuple[list[int], bool]:
        kept = read.reuse(IDS[:length])
        assert kept % BLOCK == 0
        assert kept == len(read.cached_model.ids)
        limit = DecodeBudget(99, 10, never)
        told: list[Sequence[int]] = []
        middle = decode_in_blocks(
            read,
            IDS[:length],
            lambda index, token: False,
            CommitRule(entropy_bound(0.3)),
            limit,
            lambda committed, behind, logp: told.append(committed),
            NO_STEM,
        )
        assert limit.passes > 3
        assert len(middle.logp) == len(middle.tokens) == 10
        assert len(told[-1]) > len(told[0]) == 0
        assert list(told[-1]) == middle.tokens[: len(told[-1])]
        return middle.tokens, middle.finished

    warm = new_blocks(shift)
    first = decode(warm)
    assert decode(warm) == first == decode(new_blocks(shift))
    assert not first[1]


def test_a_changed_token_drops_its_whole_block_from_the_cache() -> None:
    read = new_blocks(shift=False)
    read.extend(IDS[:12], never)
    assert read.reuse([*IDS[:10], 99, 98]) == 8
    read.extend(IDS[8:12], never)
    assert read.reuse(IDS[:12]) == 12
    shifted = new_blocks(shift=True)
    shifted.extend(IDS[:12], never)
    assert shifted.reuse(IDS[:12]) == 8  # the last row of a block predicts the next token, so it runs again


def test_an_end_token_stops_decoding_and_cancelled_reading_keeps_the_rows_read_so_far() -> None:
    read = new_blocks()
    read.reuse(IDS[:9])
    limit = DecodeBudget(99, 10, never)
    middle = decode_in_blocks(
        read,
        IDS[:9],
        lambda index, token: index == 2,
        CommitRule(entropy_bound(0.3)),
        limit,
        lambda *_: None,
        NO_STEM,
    )
    assert (len(middle.tokens), len(middle.logp), middle.finished) == (2, 3, True)
    long = new_blocks()
    asks = iter([False, True])
    with pytest.raises(Cancelled):
        long.extend(IDS * 4, lambda: next(asks))
    assert len(long.cached_model.ids) == 64
