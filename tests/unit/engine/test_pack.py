"""Tests of packed matrices: levels survive packing, and inconsistent parts are rejected."""

from __future__ import annotations

import numpy as np
import pytest

from mercury_lsp.engine.checkpoints.pack import Packed


def pack_slowly(levels: np.ndarray, bits: int, scale: np.ndarray) -> Packed:
    """Pack levels bit by bit, as the format is specified."""
    unsigned = levels.astype(int) + 2 ** (bits - 1)
    planes = np.zeros((bits, levels.shape[0], levels.shape[1] // 8), np.uint8)
    for bit in range(bits):
        for row, column in np.ndindex(*levels.shape):
            planes[bit, row, column // 8] |= (unsigned[row, column] >> bit & 1) << column % 8
    return Packed(planes, scale)


@pytest.mark.parametrize("bits", [2, 3, 5, 6, 8])
def test_unpacked_levels_and_values_equal_the_packed_ones(bits: int) -> None:
    random = np.random.default_rng(bits)
    levels = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (6, 48))
    levels[0, :2] = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1  # the smallest and the largest level
    scale = random.random((6, 3)).astype(np.float16)
    found = pack_slowly(levels, bits, scale)
    assert (found.bits, found.shape, found.group) == (bits, (6, 48), 16)
    assert found.levels().dtype == np.int8
    assert (found.levels() == levels).all()
    assert found.matrix().dtype == np.float32
    assert (found.matrix() == levels * np.repeat(scale.astype(np.float32), 16, axis=1)).all()


@pytest.mark.parametrize(
    ("planes", "scale"),
    [
        (np.zeros((1, 4, 8), np.uint8), np.ones((4, 1), np.float16)),  # too few bits
        (np.zeros((5, 4, 8), np.int8), np.ones((4, 1), np.float16)),
        (np.zeros((4, 8), np.uint8), np.ones((4, 1), np.float16)),
        (np.zeros((5, 4, 8), np.uint8), np.ones((4, 1), np.float32)),
        (np.zeros((5, 4, 8), np.uint8), np.ones((3, 1), np.float16)),
        (np.zeros((5, 4, 8), np.uint8), np.ones((4, 3), np.float16)),  # 64 columns cannot have three groups
        (np.zeros((5, 4, 8), np.uint8), np.ones((4, 0), np.float16)),
    ],
)
def test_inconsistent_parts_are_rejected(planes: np.ndarray, scale: np.ndarray) -> None:
    with pytest.raises(ValueError, match="packed matrix"):
        Packed(planes, scale)
