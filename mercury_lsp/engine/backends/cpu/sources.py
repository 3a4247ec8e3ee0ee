"""Reads the weights of a checkpoint for the C kernel, and quantizes weights that are not packed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.cpu.layout import GROUP, LANES, ZERO, Levels, Matrix
from mercury_lsp.engine.backends.cpu.rounding import (
    HALF_BYTE_TYPES,
    round_to_bytes,
    round_to_half_bytes,
    unpack_half_bytes,
)
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint, as_checkpoint_error
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.checkpoints.pack import Packed
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.checkpoints.stored_values import can_decode, decode_values
from mercury_lsp.engine.checkpoints.weight_file import StoredWeight

# More bits would need the slower products of 8 bits; the kernel has no faster products for fewer bits.
MIN_PACKED_BITS, MAX_PACKED_BITS = 5, 7
# Rows are converted in parts of this many values, so that no large matrix is in memory as float32.
PART_VALUES = 1 << 24


WriteWeight = Callable[[str, Matrix | NDArray[np.float32]], None]
"""Writes the weight of a name to its place. Raises `CheckpointError`."""


class WeightSource(Protocol):
    """The weights of a checkpoint for the kernel. ``key``: identifies the prepared weights, hexadecimal."""

    shape: Shape
    key: str

    def bits(self, name: str) -> int:
        """Return the number of bits of a matrix's levels, 4 to 8."""
        ...

    def writer(self) -> WriteWeight | None:
        """Return a function that writes the weights; None if the kernel does not support them.

        Raises `CheckpointError`.
        """
        ...


class PackedSource:
    """The weights of one of our own checkpoints, whose matrices are packed."""

    def __init__(self, loaded: Checkpoint) -> None:
        self.shape, self.key = loaded.shape, loaded.fingerprint
        self._loaded, self._bits = loaded, loaded.packed_bits()

    def bits(self, name: str) -> int:
        """See `WeightSource.bits`."""
        return max(MIN_PACKED_BITS, min(self._bits.get(name, MAX_PACKED_BITS), MAX_PACKED_BITS))

    def writer(self) -> WriteWeight | None:
        """See `WeightSource.writer`."""
        weights = self._loaded.weights()
        if not all(map(_is_supported, weights.values())):
            return None

        def write(name: str, target: Matrix | NDArray[np.float32]) -> None:
            weight = weights[name]
            if isinstance(target, Matrix) and isinstance(weight, Packed):
                levels = (weight.levels() + np.int8(ZERO[target.bits])).view(np.uint8)
                target.write_rows(0, Levels(levels, weight.scale.astype(np.float32), target.bits))
            elif isinstance(target, np.ndarray) and isinstance(weight, np.ndarray):
                target[:] = weight

        return write


def _is_supported(weight: Packed | NDArray[np.float32]) -> bool:
    """Return whether the kernel supports a weight: a vector, or a matrix packed in its groups and bits."""
    if not isinstance(weight, Packed):
        return weight.ndim == 1
    return weight.bits <= MAX_PACKED_BITS and weight.group == GROUP and weight.shape[0] % (2 * LANES) == 0


class OpenSource:
    """The weights of an open checkpoint.

    A matrix that is stored in 4 bits keeps its levels. Other matrices are quantized to 8 bits, or with int4 to 4 bits,
    except the matrices of the vocabulary, as in llama.cpp's files.
    """

    def __init__(self, loaded: OpenCheckpoint, quantization: str) -> None:
        self.shape = loaded.shape
        self._loaded, self._quantization = loaded, quantization
        self._parts = dict(loaded.parts())
        self.key = hashlib.sha256(f"{loaded.fingerprint}{quantization}".encode()).hexdigest()

    def bits(self, name: str) -> int:
        """See `WeightSource.bits`."""
        if all(self._loaded.files[part].dtype in HALF_BYTE_TYPES for part in self._parts[name]):
            return 4
        in_layer = name.startswith("layers.")
        return 4 if self._quantization == "int4" and in_layer else 8

    def writer(self) -> WriteWeight | None:
        """See `WeightSource.writer`."""
        return (
            self._write if all(can_decode(stored.dtype) for stored in self._loaded.files.values()) else None
        )

    def _write(self, name: str, target: Matrix | NDArray[np.float32]) -> None:
        with as_checkpoint_error(self._loaded.folder):
            first = 0
            for index, part in enumerate(self._parts[name]):
                stored = self._loaded.files[part]
                raw = np.frombuffer(stored.read(), np.uint8).reshape(stored.shape[0], -1)
                order = self._loaded.row_order(part)
                if order is not None:
                    raw = raw[order]
                factor = np.float32(self._loaded.factor(name, index))
                if isinstance(target, Matrix):
                    self._write_rows(target, first, stored, raw, factor)
                else:
                    target[first : first + len(raw)] = decode_values(stored.dtype, raw).ravel() * factor
                first += len(raw)

    def _write_rows(
        self, target: Matrix, first: int, stored: StoredWeight, raw: NDArray[np.uint8], factor: np.float32
    ) -> None:
        count = max(1, PART_VALUES // target.inputs // LANES) * LANES
        for at in range(0, len(raw), count):
            rows = raw[at : at + count]
            if target.bits == 4 and stored.dtype in HALF_BYTE_TYPES:
                levels = unpack_half_bytes(stored.dtype, rows, factor)
            elif target.bits == 4:
                levels = round_to_half_bytes(decode_values(stored.dtype, rows) * factor)
            else:
                levels = round_to_bytes(decode_values(stored.dtype, rows) * factor)
            if not levels.finite:
                raise ValueError(
                    "the scales of its weights, with its multipliers, are too large, or no numbers"
                )
            target.write_rows(first + at, levels)
