"""Trains weights for the few bits in which they are shipped: quantization-aware training.

While a step's loss and gradient are computed, the matrices hold their quantized values; the optimizer then moves the
original weights (straight-through gradient, Bengio et al. 2013; Jacob et al. 2018). The grid is that of
`quantization_grid`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from mercury_lsp.engine.backends.network import Network
from model.compression.quantization_grid import nearest_scale, quantize


def bits(name: str) -> int:
    """Return the bits of a matrix: 5 in the feed-forward, three fifths of the model and least sensitive; else 6."""
    return 5 if name.endswith(("gate_up.weight", "down.weight")) else 6


class Rounding:
    """Rounds the trained matrices of a network during each step, to a grid that is fixed once.

    width: returns the number of bits for the matrix of a name.
    """

    def __init__(self, network: Network, width: Callable[[str], int], group: int) -> None:
        self._weights = {name: weight for name, weight in network.matrices() if weight.requires_grad}
        self._tops = {name: 2 ** (width(name) - 1) - 1 for name in self._weights}
        # Allocated at the first step, since it is as large as the weights.
        self._kept: dict[str, Tensor] = {}
        self._group = group
        self.scales: dict[str, Tensor] = {}
        """The scales of each matrix by name, exact in fp16 (R, C / group); empty until the grid is fixed."""

    @torch.no_grad()
    def fix(self, scales: Mapping[str, Tensor]) -> None:
        """Fix the grid. scales: (R, C / group) of matrices by name; other matrices get their `nearest_scale`."""
        self.scales = {
            name: scales[name].to(weight)
            if name in scales
            else nearest_scale(self._grouped(weight), self._tops[name]).squeeze(-1)
            for name, weight in self._weights.items()
        }

    @contextmanager
    @torch.no_grad()
    def step(self) -> Iterator[None]:
        """Round the weights within the context, and restore them afterwards. The grid must be fixed."""
        self._kept = self._kept or {name: torch.empty_like(weight) for name, weight in self._weights.items()}
        for name, weight in self._weights.items():
            self._kept[name].copy_(weight)
            values, scale = self._grouped(weight), self.scales[name].unsqueeze(-1)
            values.copy_(quantize(values, scale, self._tops[name]).mul_(scale))
        try:
            with torch.enable_grad():
                yield
        finally:
            for name, weight in self._weights.items():
                weight.copy_(self._kept[name])

    def _grouped(self, weight: Tensor) -> Tensor:
        return weight.detach().view(weight.shape[0], -1, self._group)  # (R, C / group, group)
