"""Quantizes weights to levels for the C kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.cpu.layout import GROUP, HALF, ZERO, Levels

HALF_BYTE_TYPES = frozenset({"Q4_0", "Q4_1", "Q4_K"})
"""The GGUF types whose levels the kernel uses unchanged: 4 bits, with a scale and an offset for each 32 columns."""


ONE = np.float32(1)


def round_to_bytes(values: NDArray[np.float32]) -> Levels:
    """Round rows (R, C) to levels of 8 bits, symmetric about zero."""
    groups = values.reshape(len(values), -1, GROUP)
    scales = np.abs(groups).max(-1) / np.float32(127)
    with np.errstate(divide="ignore", invalid="ignore"):
        rounded = np.rint(np.nan_to_num(groups / scales[..., None], posinf=0.0, neginf=0.0))
    levels = (rounded + ZERO[8]).astype(np.uint8).reshape(values.shape)
    return Levels(levels, scales.astype(np.float32), 8)


def round_to_half_bytes(values: NDArray[np.float32]) -> Levels:
    """Round rows (R, C) to levels of 4 bits between the smallest and the largest value of each group."""
    groups = values.reshape(len(values), -1, HALF)
    # Values that are too large for float16 become infinite, which `Levels.finite` detects.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        offsets = groups.min(-1).astype(np.float16)
        scales = ((groups.max(-1) - offsets) / 15).astype(np.float16)
        rounded = np.rint((groups - offsets[..., None]) / scales[..., None].astype(np.float32))
    levels = np.clip(np.nan_to_num(rounded), 0, 15).astype(np.uint8).reshape(values.shape)
    return Levels(levels, scales, 4, offsets)


def unpack_half_bytes(dtype: str, raw: NDArray[np.uint8], factor: np.float32 = ONE) -> Levels:
    """Unpack rows of bytes (R, B) of a type of `HALF_BYTE_TYPES`, and multiply scales and offsets by a factor.

    The layouts are those of ggml's ``block_q4_0``, ``block_q4_1`` and ``block_q4_K``. The low halves of the bytes hold
    the first half of each 32 values, or of each 64 values in Q4_K.
    """
    count = len(raw)
    if dtype == "Q4_K":
        from gguf.quants import Q4_K

        blocks = raw.reshape(-1, 144)
        head = np.ascontiguousarray(blocks[:, :4]).view(np.float16).astype(np.float32)
        scale, minimum = Q4_K.get_scale_min(blocks[:, 4:16])  # (blocks, 8)
        scales, offsets = head[:, :1] * scale, -head[:, 1:] * minimum
        packed = blocks[:, 16:].reshape(-1, 4, 32)
    else:
        size = 18 if dtype == "Q4_0" else 20
        blocks = raw.reshape(-1, size)
        head = np.ascontiguousarray(blocks[:, : size - 16]).view(np.float16).astype(np.float32)
        scales = head[:, :1]
        offsets = -8 * scales if dtype == "Q4_0" else head[:, 1:]
        packed = blocks[:, size - 16 :].reshape(-1, 1, 16)
    levels = np.stack([packed & 15, packed >> 4], 2).reshape(count, -1)
    with np.errstate(invalid="ignore", over="ignore"):
        scales, offsets = (scales * factor).astype(np.float16), (offsets * factor).astype(np.float16)
    return Levels(np.ascontiguousarray(levels), scales.reshape(count, -1), 4, offsets.reshape(count, -1))
