"""Runs a network with PyTorch: on GPUs, and on CPUs if the C kernel cannot run it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask, needs_no_mask
from mercury_lsp.engine.backends.network import Network

# The buffers of keys and values grow by a multiple of this.
KV_STEP_ROWS = 256


class TorchExecutor:
    """An `Executor` on PyTorch. ``forbidden``: ids with a score of -inf; ``threads``: 0 keeps PyTorch's setting."""

    row_cost = 0.0

    def __init__(self, network: Network, forbidden: Sequence[int], device: str, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device = device
        self.threads = torch.get_num_threads()
        self.network = network.to(device)
        self._forbidden = torch.tensor(forbidden, device=device)
        self._cache = KVCache(network)

    @torch.inference_mode()
    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Tensor:
        """See `Executor.run`."""
        self._cache.reserve(past, len(ids))
        mask = None
        if not needs_no_mask(rows):
            visible = attention_mask(rows, TokenLayout.join(TokenLayout.clean(0, past), rows))
            mask = torch.from_numpy(visible)[None].to(self.device)  # (1, T, S)
        tokens = torch.tensor([ids], device=self.device)
        position = torch.from_numpy(rows.position)[None].to(self.device)
        hidden: Tensor = self.network(tokens, position, mask, self._cache)
        return hidden[0]

    @torch.inference_mode()
    def scores(self, hidden: Tensor) -> NDArray[np.float32]:
        """See `Executor.scores`."""
        logits = self.network.logits(hidden).float()  # (n, V)
        scores: NDArray[np.float32] = (
            logits.index_fill(-1, self._forbidden, -torch.inf).log_softmax(-1).cpu().numpy()
        )
        return scores


class KVCache:
    """The keys and values of one sequence by layer and row, in buffers that grow."""

    def __init__(self, network: Network) -> None:
        self._shape, weight = network.shape, network.embedding.weight
        self._prototype = weight.new_zeros(0)
        self._keys = self._values = self._allocate(0)
        self._past = 0

    def _allocate(self, rows: int) -> Tensor:
        shape = self._shape  # (layers, N = 1, Hkv, rows, D)
        return self._prototype.new_zeros((shape.layers, 1, shape.kv_heads, rows, shape.head_width))

    def reserve(self, past: int, rows: int) -> None:
        """Make room for the next pass, which writes ``rows`` rows after the first ``past`` rows."""
        self._past, capacity = past, self._keys.shape[3]
        if past + rows > capacity:
            more = self._allocate((past + rows - capacity + KV_STEP_ROWS - 1) // KV_STEP_ROWS * KV_STEP_ROWS)
            self._keys = torch.cat((self._keys, more), dim=3)
            self._values = torch.cat((self._values, more), dim=3)

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new rows after the kept ones, and return all of them, see `Past.update`."""
        first, last = self._past, self._past + key.shape[2]
        keys, values = self._keys[layer], self._values[layer]
        keys[:, :, first:last] = key
        values[:, :, first:last] = value
        return keys[:, :, :last], values[:, :, :last]


def best_device() -> str:
    """Return the first of cuda, mps and cpu that PyTorch can use."""
    return next(device for device in ("cuda", "mps", "cpu") if has_device(device))


def has_device(device: str) -> bool:
    """Return whether PyTorch can use a device on this machine."""
    if device.startswith("cuda"):
        return torch.cuda.is_available()
    return device == "cpu" or (device == "mps" and torch.backends.mps.is_available())


def dtype_for(device: str) -> torch.dtype:
    """Return the number format for a device: fp16 on MPS, bf16 on CUDA and on CPUs that support it, else fp32."""
    if device == "mps":
        return torch.float16
    if device.startswith("cuda") or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32
