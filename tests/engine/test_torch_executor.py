"""The torch executor: rows in its KV cache equal those of a new run, and scores exclude forbidden tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.models.tiny_models import TINY, tiny_network

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.torch_executor import TorchExecutor

FORBIDDEN = (3, 17)
IDS = torch.randint(17, TINY.vocabulary, (600,), generator=torch.Generator().manual_seed(1)).tolist()


@pytest.fixture
def executor() -> TorchExecutor:
    return TorchExecutor(tiny_network(), FORBIDDEN, "cpu")


def run_whole(ids: list[int], rows: TokenLayout) -> torch.Tensor:
    """Return the hidden rows (T, width) of one run of the network over all rows, without a cache."""
    mask = torch.from_numpy(attention_mask(rows, rows))[None]
    hidden: torch.Tensor = tiny_network()(torch.tensor([ids]), torch.from_numpy(rows.position)[None], mask)
    return hidden[0]


def test_clean_rows_read_in_parts_equal_those_read_at_once(executor: TorchExecutor) -> None:
    at_once = run_whole(IDS[:300], TokenLayout.clean(0, 300))
    # Beyond the end of the first buffer.
    for first, last in ((0, 7), (7, 8), (8, 30), (30, 257), (257, 300)):
        part = executor.run(IDS[first:last], TokenLayout.clean(first, last - first), first)
        torch.testing.assert_close(part, at_once[first:last], atol=1e-5, rtol=1e-4)


def test_a_block_after_cached_rows_equals_a_block_after_new_rows(executor: TorchExecutor) -> None:
    # The anchor is a copy of the last context token.
    block = [IDS[23], *IDS[24:39]]
    rows = TokenLayout.join(TokenLayout.clean(0, 24), TokenLayout.block(24, 15))
    expected = run_whole([*IDS[:24], *block], rows)[24:]
    executor.run(IDS[:24], TokenLayout.clean(0, 24), 0)
    hidden = executor.run(block, TokenLayout.block(24, 15), 24)
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-4)


def test_rows_that_were_not_kept_are_overwritten(executor: TorchExecutor) -> None:
    executor.run(IDS[:24], TokenLayout.clean(0, 24), 0)
    executor.run([*IDS[100:140]], TokenLayout.clean(24, 40), 24)
    executor.run(IDS[20:30], TokenLayout.clean(20, 10), 20)
    hidden = executor.run(IDS[30:33], TokenLayout.clean(30, 3), 30)
    expected = run_whole(IDS[:33], TokenLayout.clean(0, 33))[30:]
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-4)


def test_scores_are_log_probabilities_without_forbidden_tokens(executor: TorchExecutor) -> None:
    hidden = executor.run(IDS[:5], TokenLayout.clean(0, 5), 0)
    scores = executor.scores(hidden[[4, 2]])
    assert scores.dtype == np.float32
    assert scores.shape == (2, TINY.vocabulary)
    assert np.flatnonzero(np.isinf(scores[0])).tolist() == list(FORBIDDEN)
    assert np.exp(scores).sum(-1) == pytest.approx(1.0, rel=1e-4)
    np.testing.assert_allclose(scores[0], executor.scores(hidden[4:])[0], rtol=1e-5)


def test_the_number_of_threads_is_set_and_reported() -> None:
    before = torch.get_num_threads()
    try:
        executor = TorchExecutor(tiny_network(), FORBIDDEN, "cpu", 1)
        assert (executor.device, executor.threads, torch.get_num_threads()) == ("cpu", 1, 1)
    finally:
        torch.set_num_threads(before)
