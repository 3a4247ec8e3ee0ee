"""The attention rule by its words, for arrays and for tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask, needs_no_mask


def test_a_block_sees_context_and_itself_and_nothing_sees_it() -> None:
    both = TokenLayout.join(TokenLayout.clean(0, 5), TokenLayout.block(5, 3))
    seen = attention_mask(both, both)
    assert (seen[:5, :5] == np.tri(5, dtype=bool)).all()
    assert not seen[:5, 5:].any()
    assert seen[5:].all()


def test_blocks_are_blind_to_one_another_and_to_what_is_clean_behind_them() -> None:
    rows = TokenLayout.join(
        TokenLayout.clean(0, 4), TokenLayout.block(2, 2, number=1), TokenLayout.block(4, 2, number=2)
    )
    seen = attention_mask(rows, rows).astype(int).tolist()
    assert seen[5] == [1, 1, 0, 0, 1, 1, 1, 0, 0, 0]
    assert seen[8] == [1, 1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_branches_are_blind_to_one_another() -> None:
    fields = {
        "position": [0, 1, 2, 3, 4, 3, 4], "start": [1, 2, 3, 4, 5, 4, 5], "canvas": [0] * 7,
        "branch": [0, 0, 0, 1, 1, 2, 2], "fork": [1, 2, 3, 3, 3, 2, 2],
    }  # fmt: skip
    rows = TokenLayout(**{name: np.array(values) for name, values in fields.items()})
    seen = attention_mask(rows, rows).astype(int).tolist()
    assert seen[4] == [1, 1, 1, 1, 1, 0, 0]
    assert seen[6] == [1, 1, 0, 0, 0, 1, 1]  # forks off after two trunk tokens


def test_tensors_are_seen_as_arrays_are() -> None:
    rows = TokenLayout.join(TokenLayout.clean(0, 6), TokenLayout.block(3, 2, 1), TokenLayout.block(6, 4, 2))
    tensors = rows.map(torch.from_numpy)
    assert (attention_mask(tensors, tensors).numpy() == attention_mask(rows, rows)).all()
    batch = tensors.map(lambda row: torch.stack((row, row)))
    assert attention_mask(batch, batch).shape == (2, len(rows.position), len(rows.position))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (TokenLayout.clean(7, 1), True),
        (TokenLayout.clean(7, 2), False),
        (TokenLayout.block(7, 4), True),
        (TokenLayout.join(TokenLayout.clean(7, 1), TokenLayout.block(8, 4)), False),
        (TokenLayout.join(TokenLayout.block(7, 4, 1), TokenLayout.block(7, 4, 2)), False),
    ],
)
def test_no_mask_is_needed_where_all_see_all(rows: TokenLayout, expected: bool) -> None:
    assert needs_no_mask(rows) is expected
    past = int(rows.start.min()) - int(rows.canvas[0] == 0)  # the first row's place
    assert attention_mask(rows, TokenLayout.join(TokenLayout.clean(0, past), rows)).all() == expected
