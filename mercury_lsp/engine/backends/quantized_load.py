"""Loads the network of an open checkpoint on its device, and optionally quantizes it layer by layer with torchao."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError, as_checkpoint_error
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.checkpoints.stored_values import can_decode, decode_values
from mercury_lsp.engine.checkpoints.weight_file import StoredWeight

# The number of values of a row that share a scale in int4.
INT4_GROUP_VALUES = 64
# Memory that a device needs in addition to the weights, for keys, values and logits.
FREE_BYTES_KEPT = 1.5 * 2**30
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
# The size of a quantized number, with its share of the scales, relative to 16 bits.
SHARE_OF_16_BITS = {"none": 1.0, "int8": 0.5, "int4": 0.28}


def load_network(
    loaded: OpenCheckpoint,
    device: str,
    dtype: torch.dtype,
    quantization: str = "none",
    progress: Callable[[float], None] | None = None,
) -> Network:
    """Load a checkpoint's network on a device; with quantization, at most one layer is in memory at full size.

    quantization: none, int8 or int4, see `quantization_for`. progress: called with the fraction done. Raises
    `CheckpointError`.
    """
    with torch.device("meta"):
        network = Network(loaded.shape)
    parts = list(loaded.parts())
    with as_checkpoint_error(loaded.folder):
        for done, (name, names) in enumerate(parts, 1):
            tensors = [_stored(loaded, name, index, part) for index, part in enumerate(names)]
            whole = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
            module, _, last = name.rpartition(".")
            parameter = nn.Parameter(whole.to(device, dtype), requires_grad=False)
            setattr(network.get_submodule(module), last, parameter)
            if done == len(parts) or _layer(parts[done][0]) != _layer(name):
                _quantize(network, _layer(name), quantization, loaded.name, device)
            if progress is not None:
                progress(done / len(parts))
    network.build_tables()
    return network.requires_grad_(False).eval()


def _tensor(stored: StoredWeight, name: str) -> Tensor:
    """Read a stored weight. Raises ``OSError`` or ``ValueError``."""
    if stored.dtype in DTYPES:
        return torch.frombuffer(stored.read(), dtype=DTYPES[stored.dtype]).reshape(stored.shape)
    if not can_decode(stored.dtype):
        raise ValueError(f"its weight {name} is of the type {stored.dtype}, which is not known here")
    raw = np.frombuffer(stored.read(), np.uint8).reshape(stored.shape[0], -1)
    return torch.from_numpy(decode_values(stored.dtype, raw)).reshape(stored.shape)


def _stored(loaded: OpenCheckpoint, name: str, index: int, part: str) -> Tensor:
    """Read the part ``index`` of the weight ``name``, in the network's row order and with its factor applied."""
    weight = _tensor(loaded.files[part], part)
    order, factor = loaded.row_order(part), loaded.factor(name, index)
    weight = weight if order is None else weight[torch.from_numpy(order)]
    return weight if factor == 1.0 else weight.float() * factor


def _layer(name: str) -> str:
    """Return the module name of a weight's layer, or of its module outside the layers."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "layers" else parts[0]


def quantization_for(quantization: str, shape: Shape, dtype: torch.dtype, device: str) -> str:
    """Return the quantization for a setting; auto is the most exact one that leaves enough memory free."""
    if quantization != "auto":
        return quantization
    free, size = free_memory(device) - FREE_BYTES_KEPT, dtype.itemsize
    kinds = SHARE_OF_16_BITS if device.startswith("cuda") else ("none", "int8")
    return next((kind for kind in kinds if weights_bytes(shape, size, kind) <= free), list(kinds)[-1])


def weights_bytes(shape: Shape, size: int, quantization: str) -> float:
    """Estimate the bytes of a network's weights; ``size``: bytes of a number without quantization."""
    matrices = 0
    for name, dims in shape.weights().items():
        if len(dims) == 2 and name != "embedding.weight":
            matrices += dims[0] * dims[1]
    whole = shape.parameters - matrices
    each = float(size) if quantization == "none" else 2 * SHARE_OF_16_BITS[quantization]
    return size * whole + each * matrices


def free_memory(device: str) -> float:
    """Return the free memory of a device in bytes; infinity if the system does not report it."""
    if device.startswith("cuda"):
        return float(torch.cuda.mem_get_info(device)[0])
    if device == "mps":
        return float(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        # The system is not POSIX.
        return float("inf")


def _quantize(network: Network, layer: str, quantization: str, name: str, device: str) -> None:
    """Quantize the linear modules of one layer in place; the embedding and vectors do not change."""
    module = network.get_submodule(layer)
    if quantization == "none" or isinstance(module, nn.Embedding):
        return
    if quantization == "int4" and not device.startswith("cuda"):
        raise CheckpointError(
            f"The model {name} cannot be held in int4 on {device}, where torchao has no kernel for it: set "
            "quantization to int8."
        )
    try:
        from torchao.quantization import (  # type: ignore[import-untyped]
            Int4WeightOnlyConfig,
            Int8WeightOnlyConfig,
            quantize_,
        )
    except ImportError as error:
        raise CheckpointError(
            f'The model {name} can be quantized only with torchao: pip install "mercury-lsp[torch]"'
        ) from error
    config = (
        Int8WeightOnlyConfig()
        if quantization == "int8"
        else Int4WeightOnlyConfig(group_size=INT4_GROUP_VALUES, int4_packing_format="tile_packed_to_4d")
    )
    if isinstance(module, nn.Linear):
        # torchao changes only the children of a module, so the output matrix needs a parent.
        module = nn.ModuleDict({layer: module})
    try:
        quantize_(module, config)
    except (RuntimeError, ImportError, NotImplementedError, AssertionError) as error:
        words = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(
            f"The model {name} cannot be held in {quantization} on {device}: {words}."
        ) from error
