"""The noise: absorbing-state (masked) diffusion, defined once for the trainer and the sampler.

Owns the schedule, the loss weight and the complementary masks. Knows no network.

The forward process masks each token of a canvas independently with probability t. The evidence bound of that process
is the cross-entropy of the masked tokens weighted by 1/t, t uniform (Sahoo et al. 2024, MDLM; Shi et al. 2024). Two
canvases with complementary masks train each token once, at less variance (the coupled sampling of DiffuCoder).
"""

from __future__ import annotations

import torch
from torch import Tensor

T_MIN = 0.02
WEIGHT_MAX = (
    10.0  # 1/t is cut here: below t = 0.1 a canvas of 16 has one masked token or none, and pure variance
)
ALL_MASKED = 0.2  # share of pairs whose first canvas is drawn at t = 1, where every sampling begins


def draw(pairs: int, size: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Masks and loss weights of ``pairs`` pairs of canvases of ``size`` tokens. bool and float (pairs, 2, size).

    A pair at noise level t masks each token in the first canvas with probability t and in the second where the first
    does not. At t = 1, where the second would have nothing to learn, it is an independent one at a level of its own.
    """
    level = T_MIN + (1 - T_MIN) * torch.rand(pairs, 2, generator=generator)
    chance = torch.rand(pairs, 2, size, generator=generator)
    first = chance[:, 0] < level[:, :1]
    all_masked = torch.rand(pairs, 1, generator=generator) < ALL_MASKED
    second = torch.where(all_masked, chance[:, 1] < level[:, 1:], ~first)
    level_first = torch.where(all_masked, 1.0, level[:, :1])
    level_second = torch.where(all_masked, level[:, 1:], 1 - level[:, :1])
    masks = torch.stack((first | all_masked, second), dim=1)
    levels = torch.stack((level_first, level_second), dim=1)  # (pairs, 2, 1)
    return masks, weight(levels).expand(-1, -1, size)


def weight(level: Tensor) -> Tensor:
    """Loss weight of a masked token at noise level t."""
    return (1.0 / level.clamp(min=1e-6)).clamp(max=WEIGHT_MAX)
