"""Defines matrices that are packed into a few bits per value, as in the shipped files.

A row is divided into groups of equal width, each with an fp16 scale. Values are quantized to signed integers of
``bits`` bits and stored as bit planes, so that each value takes exactly 2 to 8 bits. Training does the quantization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A matrix (R, C) of few bits per value. Raises ``ValueError`` if the parts do not fit each other.

    ``planes``: uint8 (bits, R, C / 8); plane i holds bit i of each level plus 2^(bits - 1), the first column in the
    lowest bit of its byte. So levels are in [-2^(bits - 1), 2^(bits - 1) - 1]. ``scale``: fp16 (R, C / group).
    """

    planes: NDArray[np.uint8]
    scale: NDArray[np.float16]

    def __post_init__(self) -> None:
        if self.planes.dtype != np.uint8 or self.planes.ndim != 3 or not 2 <= self.bits <= 8:
            raise ValueError("a packed matrix has no bit planes")
        rows, columns = self.shape
        fits = self.scale.ndim == 2 and len(self.scale) == rows and self.scale.size
        if self.scale.dtype != np.float16 or not fits or columns % self.scale.shape[1]:
            raise ValueError("a packed matrix and its scales do not fit each other")

    @property
    def bits(self) -> int:
        """The number of bits of a value."""
        return len(self.planes)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.planes.shape[1], self.planes.shape[2] * 8

    @property
    def group(self) -> int:
        """The number of values of a row that share a scale."""
        return int(self.shape[1] // self.scale.shape[1])

    def levels(self) -> NDArray[np.int8]:
        """Return the signed integers of the matrix. (R, C)"""
        # Each word holds eight levels of a byte each.
        words = np.zeros((self.shape[0], self.planes.shape[2]), np.uint64)
        for bit, plane in enumerate(self.planes):
            words |= np.unpackbits(plane, axis=-1, bitorder="little").view(np.uint64) << np.uint64(bit)
        levels: NDArray[np.int8] = (words.view(np.uint8) - np.uint8(2 ** (self.bits - 1))).view(np.int8)
        return levels

    def matrix(self) -> NDArray[np.float32]:
        """Return the values, each level times its group's scale. (R, C)"""
        rows, columns = self.shape
        groups = self.levels().reshape(rows, -1, self.group).astype(np.float32)  # (R, C / group, group)
        groups *= self.scale.astype(np.float32)[..., None]
        return groups.reshape(rows, columns)
