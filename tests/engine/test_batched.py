"""A batch of several sessions gives each session the results of a run of its own."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from support.models.tiny_models import TINY, tiny_network

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.batched import BatchedNetwork
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.batching import SlotRows

FORBIDDEN = (3, 17)
SLOTS, ROWS = 5, 256
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def random_ids(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(17, TINY.vocabulary), k=count)


def draft_layout(first: int) -> TokenLayout:
    """Return known tokens, a draft, and canvases at two positions of the draft, as in speculative decoding."""
    return TokenLayout.join(
        TokenLayout.clean(first, 3),
        TokenLayout.block(first + 1, 4),
        TokenLayout.block(first + 3, 4, number=2),
    )


# The passes of each session, one after another: rows, and how many of them are kept.
SCRIPTS: tuple[tuple[tuple[TokenLayout, int], ...], ...] = (
    (
        (TokenLayout.clean(0, 64), 64),
        (TokenLayout.clean(64, 64), 64),
        (TokenLayout.clean(128, 41), 41),
        (draft_layout(169), 2),
    ),
    (
        (TokenLayout.clean(0, 5), 5),
        (TokenLayout.block(5, 6), 0),
        (draft_layout(5), 3),
        (TokenLayout.clean(8, 1), 1),
    ),
    (
        (TokenLayout.clean(0, 64), 30),
        (TokenLayout.clean(30, 7), 7),
        (TokenLayout.block(37, 15), 0),
        (TokenLayout.clean(37, 16), 16),
    ),
    ((draft_layout(0), 1), (draft_layout(1), 3), (draft_layout(4), 2), (draft_layout(6), 1)),
)


@pytest.fixture(scope="module")
def batched() -> BatchedNetwork:
    return BatchedNetwork(tiny_network(), FORBIDDEN, "cpu", SLOTS, ROWS)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1), (2,), (1, 0, 3)])
def test_sessions_of_a_batch_get_the_same_hidden_rows_as_alone(
    batched: BatchedNetwork, order: tuple[int, ...]
) -> None:
    """The passes mix prefill, drafts and canvases of different lengths, in slots with rows of other sessions."""
    alone = {which: TorchExecutor(tiny_network(), FORBIDDEN, "cpu") for which in order}
    past = dict.fromkeys(order, 0)
    for step in range(4):
        parts, wanted = [], []
        for place, which in enumerate(order):
            rows, kept = SCRIPTS[which][step]
            own = random_ids(len(rows.position), 10 * which + step)
            parts.append(SlotRows((3 * place + 1) % SLOTS, own, rows, past[which]))
            wanted.append(alone[which].run(own, rows, past[which]))
            past[which] += kept
        found = batched.run(parts)
        assert len(found) == len(parts)
        for hidden, expected in zip(found, wanted, strict=True):
            torch.testing.assert_close(hidden, expected, **CLOSE)


def test_scores_of_a_batch_equal_scores_of_each_session_alone(batched: BatchedNetwork) -> None:
    alone = TorchExecutor(tiny_network(), FORBIDDEN, "cpu")
    hidden = batched.run(
        [
            SlotRows(0, random_ids(9, 1), TokenLayout.clean(0, 9), 0),
            SlotRows(4, random_ids(3, 2), TokenLayout.clean(0, 3), 0),
        ]
    )
    asked = [hidden[0][[8, 2, 5]], hidden[1][[1]]]
    scores = batched.scores(asked)
    assert [len(own) for own in scores] == [3, 1]
    for own, rows in zip(scores, asked, strict=True):
        np.testing.assert_allclose(own, alone.scores(rows), atol=1e-5)
        assert own.dtype == np.float32
        assert np.isneginf(own[:, list(FORBIDDEN)]).all()


def test_bytes_each_is_the_size_of_a_slots_kv_cache(batched: BatchedNetwork) -> None:
    shape = TINY
    assert batched.bytes_per_slot == 2 * shape.layers * shape.kv_heads * ROWS * shape.head_width * 4
