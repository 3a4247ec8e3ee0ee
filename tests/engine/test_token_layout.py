"""The attention mask of token layouts, for arrays and for tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask, needs_no_mask


def test_a_block_attends_to_context_and_itself_and_no_row_attends_to_it() -> None:
    both = TokenLayout.join(TokenLayout.clean(0, 5), TokenLayout.block(5, 3))
    seen = attention_mask(both, both)
    assert (seen[:5, :5] == np.tri(5, dtype=bool)).all()
    assert not seen[:5, 5:].any()
    assert seen[5:].all()


def test_blocks_do_not_attend_to_other_blocks_or_later_clean_rows() -> None:
    rows = TokenLayout.join(
        TokenLayout.clean(0, 4), TokenLayout.block(2, 2, number=1), TokenLayout.block(4, 2, number=2)
    )
    seen = attention_mask(rows, rows).astype(int).tolist()
    assert seen[5] == [1, 1, 0, 0, 1, 1, 1, 0, 0, 0]
    assert seen[8] == [1, 1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_branches_do_not_attend_to_each_other() -> None:
    fields = {
        "position": [0, 1, 2, 3, 4, 3, 4], "start": [1, 2, 3, 4, 5, 4, 5], "canvas": [0] * 7,
        "branch": [0, 0, 0, 1, 1, 2, 2], "fork": [1, 2, 3, 3, 3, 2, 2],
    }  # fmt: skip
    rows = TokenLayout(**{name: np.array(values) for name, values in fields.items()})
    seen = attention_mask(rows, rows).astype(int).tolist()
    assert seen[4] == [1, 1, 1, 1, 1, 0, 0]
    assert seen[6] == [1, 1, 0, 0, 0, 1, 1]  # branches off after two tokens of the trunk


def test_masks_of_tensors_equal_masks_of_arrays() -> None:
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
def test_no_mask_is_needed_if_all_rows_attend_to_all(rows: TokenLayout, expected: bool) -> None:
    assert needs_no_mask(rows) is expected
    # The position of the first row.
    past = int(rows.start.min()) - int(rows.canvas[0] == 0)
    assert attention_mask(rows, TokenLayout.join(TokenLayout.clean(0, past), rows)).all() == expected
