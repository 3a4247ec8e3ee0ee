"""Trains the scales of packed weights, while their levels stay.

Owns what such training changes: a factor for each group's scale. A checkpoint of it has the levels of the one that it
starts from, so that packing loses nothing of what a run learns, however short it is (PEQA, Kim et al. 2023; the last
phase of EfficientQAT, Chen et al. 2024). Knows neither data nor optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints.pack import Packed


class GroupScales:
    """The scales of a network's packed matrices as what learns, instead of the matrices.

    A scale is that of the checkpoint times e to the power of its *factor*, which starts at zero and is what the
    optimizer moves. The network's matrices always hold the levels times the scales in fp16, as a shipped file does.
    Matrices that do not learn are not changed.
    """

    def __init__(
        self, network: Network, weights: Mapping[str, Packed | NDArray[np.float32]], group: int
    ) -> None:
        """weights: those of the network's checkpoint. Raises ``ValueError`` if a matrix that learns is not packed in
        groups of ``group`` values."""
        self._matrices: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        self.factors: dict[str, nn.Parameter] = {}  # (R, C / group)
        for name, matrix in network.matrices():
            if not matrix.requires_grad:
                continue
            weight = weights[name]
            if not isinstance(weight, Packed) or weight.group != group:
                raise ValueError(f"{name} is not packed as model.compression.ship does it")
            levels, scale = torch.from_numpy(weight.levels()), torch.from_numpy(weight.scale).float()
            self._matrices[name] = matrix, levels.to(matrix.device), scale.to(matrix.device)
            self.factors[name] = nn.Parameter(torch.zeros_like(self._matrices[name][2]))

    @torch.no_grad()
    def take_gradients(self) -> None:
        """Turn the matrices' gradients into the factors', and remove them."""
        for name, factor in self.factors.items():
            matrix = self._matrices[name][0]
            if matrix.grad is not None:
                groups = (matrix.grad * matrix).view(*factor.shape, -1)  # (R, C / group, group)
                factor.grad, matrix.grad = groups.sum(-1), None

    @torch.no_grad()
    def write(self) -> None:
        """Put the levels times the present scales into the network's matrices."""
        scales = self.scales()
        for name, (matrix, levels, _) in self._matrices.items():
            groups = matrix.view(*scales[name].shape, -1)
            torch.mul(levels.view(groups.shape), scales[name].float().unsqueeze(-1), out=groups)

    @torch.no_grad()
    def scales(self) -> dict[str, Tensor]:
        """The present scales of each matrix by name, fp16 (R, C / group)."""
        return {
            name: (scale * self.factors[name].exp()).half() for name, (_, _, scale) in self._matrices.items()
        }
