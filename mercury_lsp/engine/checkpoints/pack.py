"""Defines matrices packed into a few bits a value, as in the shipped files.

A row has groups of equal width, each with one fp16 scale. Values are rounded to signed integers of ``bits`` bits and
stored as bit planes, so that any width from 2 to 8 bits takes exactly its bits. The rounding belongs to training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A matrix (R, C) of few bits. Raises ``ValueError`` if the parts do not fit each other.

    ``planes``: uint8 (bits, R, C / 8); plane i holds bit i of each level, the first column lowest in its byte.
    ``scale``: fp16 (R, C / group). A level plus 2^(bits - 1) is what the planes hold, so it is in [-2^(bits - 1),
    2^(bits - 1) - 1].
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
        """The bits of a value."""
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
        """The signed integers that the planes hold. (R, C)"""
        # Each word holds eight levels of one byte.
        words = np.zeros((self.shape[0], self.planes.shape[2]), np.uint64)
        for bit, plane in enumerate(self.planes):
            words |= np.unpackbits(plane, axis=-1, bitorder="little").view(np.uint64) << np.uint64(bit)
        levels: NDArray[np.int8] = (words.view(np.uint8) - np.uint8(2 ** (self.bits - 1))).view(np.int8)
        return levels

    def matrix(self) -> NDArray[np.float32]:
        """The values: each level times its group's scale. (R, C)"""
        rows, columns = self.shape
        groups = self.levels().reshape(rows, -1, self.group).astype(np.float32)  # (R, C / group, group)
        groups *= self.scale.astype(np.float32)[..., None]
        return groups.reshape(rows, columns)
