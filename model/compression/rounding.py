"""Trains weights for the few bits that they are shipped in.

Owns how many bits each kind of matrix gets, and the swap: while a step's loss and gradient are computed, the matrices
hold what rounding would leave of them, and the optimizer then moves the weights themselves (quantization-aware
training with a straight-through gradient, Bengio et al. 2013; Jacob et al. 2018). The grid is `grid`'s. Knows
neither data nor optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mercury_lsp.engine.backends.network import Network
from model.compression.quantization_grid import nearest_scale, quantize

REFRESH = 16  # steps for which a scale stays: looking for it costs several times what rounding does


def bits(name: str) -> int:
    """Five for the feed-forward, which is three fifths of the model and the least sensitive; six for all else."""
    return 5 if name.endswith(("gate_up.weight", "down.weight")) else 6


class Rounding:
    """Rounds the matrices of a network that learn, around each step. width: how many bits a matrix of a name gets."""

    def __init__(self, network: Network, width: Callable[[str], int], group: int) -> None:
        learning = ((name, weight) for name, weight in network.matrices() if weight.requires_grad)
        self._weights = [(weight, 2 ** (width(name) - 1) - 1) for name, weight in learning]
        self._kept: list[Tensor] = []  # from the first step on: as large as the weights
        self._scales: list[Tensor] = []
        self._group = group
        self._steps = 0

    @contextmanager
    @torch.no_grad()
    def step(self) -> Iterator[None]:
        """In here the weights are rounded; they are themselves again afterwards."""
        if self._steps % REFRESH == 0:
            self._scales = [nearest_scale(self._grouped(weight), top) for weight, top in self._weights]
        self._steps += 1
        self._kept = self._kept or [torch.empty_like(weight) for weight, _ in self._weights]
        for (weight, top), kept, scale in zip(self._weights, self._kept, self._scales, strict=True):
            kept.copy_(weight)
            values = self._grouped(weight)
            values.copy_(quantize(values, scale, top).mul_(scale))
        try:
            with torch.enable_grad():
                yield
        finally:
            for (weight, _), kept in zip(self._weights, self._kept, strict=True):
                weight.copy_(kept)

    def _grouped(self, weight: Tensor) -> Tensor:
        return weight.detach().view(weight.shape[0], -1, self._group)  # (R, C / group, group)
