"""Trains the scales of packed weights, with fixed levels.

Each group's scale gets a factor, which is trained. The trained checkpoint has the same levels as its base, so packing
loses nothing of a run, however short (PEQA, Kim et al. 2023; the last phase of EfficientQAT, Chen et al. 2024).
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
    """The scales of a network's packed matrices, which are trained instead of the matrices.

    A scale is the checkpoint's scale times e to the power of its *factor*; the factor starts at zero and is what the
    optimizer moves. The network's matrices always hold the levels times the fp16 scales, like a shipped file. Matrices
    that are not trained do not change.
    """

    def __init__(
        self, network: Network, weights: Mapping[str, Packed | NDArray[np.float32]], group: int
    ) -> None:
        """Create factors for the trained matrices. weights: those of the network's checkpoint.

        Raises ``ValueError`` if a trained matrix is not packed in groups of ``group`` values.
        """
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
        """Convert the gradients of the matrices to gradients of the factors, and clear the former."""
        for name, factor in self.factors.items():
            matrix = self._matrices[name][0]
            if matrix.grad is not None:
                groups = (matrix.grad * matrix).view(*factor.shape, -1)  # (R, C / group, group)
                factor.grad, matrix.grad = groups.sum(-1), None

    @torch.no_grad()
    def write(self) -> None:
        """Write the levels times the current scales into the network's matrices."""
        scales = self.scales()
        for name, (matrix, levels, _) in self._matrices.items():
            groups = matrix.view(*scales[name].shape, -1)
            torch.mul(levels.view(groups.shape), scales[name].float().unsqueeze(-1), out=groups)

    @torch.no_grad()
    def scales(self) -> dict[str, Tensor]:
        """Return the current scales of each matrix by name, fp16 (R, C / group)."""
        return {
            name: (scale * self.factors[name].exp()).half() for name, (_, _, scale) in self._matrices.items()
        }
