"""Decodes the values of stored weights from safetensors and GGUF files, without PyTorch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PLAIN: dict[str, type[np.generic]] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
GGML_TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
"""The quantized GGUF types that are decoded with the package ``gguf``."""


def can_decode(dtype: str) -> bool:
    """Return whether `decode_values` supports a type."""
    return dtype in _PLAIN or dtype == "BF16" or dtype in GGML_TYPES


def decode_values(dtype: str, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode rows of bytes (R, B) to values (R, C). Raises ``ValueError`` for an unsupported type."""
    if dtype in _PLAIN:
        return np.ascontiguousarray(raw).view(_PLAIN[dtype]).astype(np.float32)
    if dtype == "BF16":
        # bf16 is the upper half of float32.
        return (np.ascontiguousarray(raw).view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype not in GGML_TYPES:
        raise ValueError(f"it has numbers of type {dtype}, which are not known here")
    from gguf import GGMLQuantizationType, dequantize

    return np.asarray(dequantize(raw, GGMLQuantizationType[dtype]), np.float32)
