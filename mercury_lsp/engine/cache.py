"""The key/value cache: what the network has already read, exactly.

Owns the tensors and the ids they belong to. Context rows are causal and never see a canvas, so the keys and values
of a common prefix are those that a fresh run would give; nothing is approximated. Knows no sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix

import torch
from torch import Tensor

from mercury_lsp.engine.network import Shape

STEP = 256  # rows; the buffers grow by it


class Cache:
    """Keys and values of ``ids``, and room behind them for rows that may or may not be kept."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
        self.ids: list[int] = []
        self._shape, self._dtype, self._device = shape, dtype, device
        self._keys = self._values = self._room(0)

    def _room(self, rows: int) -> Tensor:
        shape = self._shape  # (layers, N = 1, Hkv, rows, D)
        size = (shape.layers, 1, shape.kv_heads, rows, shape.head_width)
        return torch.zeros(size, dtype=self._dtype, device=self._device)

    def reuse(self, ids: Sequence[int]) -> int:
        """Forget all but the longest common start with ``ids``; returns its length."""
        kept = len(commonprefix([self.ids, list(ids)]))
        del self.ids[kept:]
        return kept

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows in all, keeping what is there."""
        have = self._keys.shape[3]
        if rows > have:
            more = self._room((rows - have + STEP - 1) // STEP * STEP)
            self._keys = torch.cat((self._keys, more), dim=3)
            self._values = torch.cat((self._values, more), dim=3)

    def join(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write new rows behind the kept ones, and give all of them. They last until `keep` or the next `join`."""
        first, last = len(self.ids), len(self.ids) + key.shape[2]
        keys, values = self._keys[layer], self._values[layer]
        keys[:, :, first:last] = key
        values[:, :, first:last] = value
        return keys[:, :, :last], values[:, :, :last]

    def keep(self, ids: Sequence[int]) -> None:
        """The rows written last belong to ``ids``, and stay."""
        self.ids += ids
