"""Lays out matrices for the C kernel: levels of 4 to 8 bits with their scales, as in `kernel/kernel.c`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Constants of kernel.c: outputs in a block, and columns that share a scale in byte levels and in 4-bit levels.
LANES, GROUP, HALF = 16, 64, 32
# The byte level that stands for zero, by the number of bits.
ZERO = {5: 16, 6: 32, 7: 64, 8: 128}


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Rows (R, C) of a matrix as unsigned integers.

    ``bits`` 5 to 8: a value is ``(levels - ZERO[bits]) * scales``, with float32 scales (R, C / 64). ``bits`` 4: a value
    is ``levels * scales + offsets``, with float16 scales and offsets (R, C / 32).
    """

    levels: NDArray[np.uint8]
    scales: NDArray[np.float32] | NDArray[np.float16]
    bits: int
    offsets: NDArray[np.float16] | None = None

    @property
    def finite(self) -> bool:
        """Whether all scales and offsets are finite."""
        return bool(
            np.isfinite(self.scales).all() and (self.offsets is None or np.isfinite(self.offsets).all())
        )


def matrix_bytes(outputs: int, inputs: int, bits: int) -> int:
    """Return the size in bytes of a laid-out matrix (outputs, inputs)."""
    groups = outputs * inputs // GROUP
    return outputs * inputs // 2 + groups * 2 * 4 if bits == 4 else outputs * inputs + groups * 4


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A matrix (outputs, inputs) for the kernel.

    ``bits`` 5 to 8: ``levels`` is uint8 (outputs / 16, inputs / 64, 16, 16, 4), blocks of outputs, then groups of four
    columns; ``scales`` is float32 (outputs / 16, inputs / 64, 16). ``bits`` 4: ``levels`` is uint8 (outputs / 16,
    inputs / 64, 8, 16, 4), of which the low half of a byte belongs to a group of four columns and the high half to the
    next group; ``scales`` is float16 (outputs / 16, inputs / 32, 2, 16), scales and offsets.
    """

    levels: NDArray[np.uint8]
    scales: NDArray[np.float32] | NDArray[np.float16]
    outputs: int
    inputs: int
    bits: int

    @classmethod
    def view(cls, part: NDArray[np.uint8], outputs: int, inputs: int, bits: int) -> Matrix:
        """Make a matrix that is a view of the bytes ``part``, (`matrix_bytes`,)."""
        blocks, groups = outputs // LANES, inputs // GROUP
        count = outputs * inputs // (2 if bits == 4 else 1)
        levels = part[:count].reshape(blocks, groups, -1, LANES, 4)
        scales: NDArray[np.float32] | NDArray[np.float16]
        if bits == 4:
            scales = part[count:].view(np.float16).reshape(blocks, 2 * groups, 2, LANES)
        else:
            scales = part[count:].view(np.float32).reshape(blocks, groups, LANES)
        return cls(levels, scales, outputs, inputs, bits)

    def write_rows(self, first: int, rows: Levels) -> None:
        """Write rows from index ``first`` on, a multiple of 16. The last block is padded with zero rows."""
        missing = -len(rows.levels) % LANES
        levels, scales = _pad_rows(rows.levels, missing), _pad_rows(rows.scales, missing)
        start, blocks = first // LANES, len(levels) // LANES
        end = start + blocks
        # Four columns of a row are one word: (blocks, 16 outputs, groups, 16) -> (blocks, groups, 16, 16 outputs).
        fours = levels.view(np.uint32).reshape(blocks, LANES, -1, LANES).transpose(0, 2, 3, 1)
        by_group = scales.reshape(blocks, LANES, -1).transpose(0, 2, 1)
        if self.bits == 4:
            assert rows.offsets is not None, "levels of 4 bits have offsets"
            offsets = _pad_rows(rows.offsets, missing).reshape(blocks, LANES, -1).transpose(0, 2, 1)
            self.levels[start:end].view(np.uint32)[..., 0] = fours[:, :, 0::2] | fours[:, :, 1::2] << 4
            self.scales[start:end] = np.stack([by_group, offsets], 2)
        else:
            self.levels[start:end].view(np.uint32)[..., 0] = fours
            self.scales[start:end] = by_group

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values of the rows with the indices ``indices``. (n, inputs)"""
        block, lane = indices // LANES, indices % LANES
        if self.bits != 4:
            levels = self.levels[block, :, :, lane].reshape(len(indices), -1, GROUP).astype(np.float32)
            scaled = (levels - ZERO[self.bits]) * self.scales[block, :, lane][..., None]
            return scaled.reshape(len(indices), -1)
        packed = self.levels[block, :, :, lane]  # (n, groups, 8, 4)
        halves = np.stack([packed & 15, packed >> 4], 3).reshape(len(indices), -1, HALF).astype(np.float32)
        scales_offsets = self.scales[block, :, :, lane].astype(np.float32)  # (n, 2 groups, 2)
        return (halves * scales_offsets[..., :1] + scales_offsets[..., 1:]).reshape(len(indices), -1)


def _pad_rows(rows: NDArray[Any], missing: int) -> NDArray[Any]:
    """Return rows (R, C) followed by ``missing`` rows of zeros, contiguous in memory."""
    return np.ascontiguousarray(np.pad(rows, ((0, missing), (0, 0))) if missing else rows)
