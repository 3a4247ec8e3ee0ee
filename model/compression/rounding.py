"""Trains weights for the few bits that they are shipped in.

Owns how many bits each kind of matrix gets, and the swap: while a step's loss and gradient are computed, the matrices
hold what rounding would leave of them, and the optimizer then moves the weights themselves (quantization-aware
training with a straight-through gradient, Bengio et al. 2013; Jacob et al. 2018). The grid is that of
`quantization_grid`. Knows neither data nor optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from mercury_lsp.engine.backends.network import Network
from model.compression.quantization_grid import nearest_scale, quantize


def bits(name: str) -> int:
    """Five for the feed-forward, which is three fifths of the model and the least sensitive; six for all else."""
    return 5 if name.endswith(("gate_up.weight", "down.weight")) else 6


class Rounding:
    """Rounds the matrices of a network that learn, around each step, on a grid that is fixed once.

    width: how many bits a matrix of a name gets.
    """

    def __init__(self, network: Network, width: Callable[[str], int], group: int) -> None:
        self._weights = {name: weight for name, weight in network.matrices() if weight.requires_grad}
        self._tops = {name: 2 ** (width(name) - 1) - 1 for name in self._weights}
        self._kept: dict[str, Tensor] = {}  # from the first step on: as large as the weights
        self._group = group
        self.scales: dict[str, Tensor] = {}
        """Of each matrix by name, exact in fp16 (R, C / group); empty until they are fixed."""

    @torch.no_grad()
    def fix(self, scales: Mapping[str, Tensor]) -> None:
        """Fix the grid: the scales (R, C / group) of matrices by name, and of all others what is nearest to them."""
        self.scales = {
            name: scales[name].to(weight)
            if name in scales
            else nearest_scale(self._grouped(weight), self._tops[name]).squeeze(-1)
            for name, weight in self._weights.items()
        }

    @contextmanager
    @torch.no_grad()
    def step(self) -> Iterator[None]:
        """In here the weights are rounded; they are themselves again afterwards. The grid must be fixed."""
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
