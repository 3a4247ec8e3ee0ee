"""Defines the noise of absorbing-state (masked) diffusion.

The forward process masks each token of a canvas independently with probability t. The evidence bound of that process
is the cross-entropy of the masked tokens weighted by 1/t, t uniform (Sahoo et al. 2024, MDLM; Shi et al. 2024). Two
canvases with complementary masks train each token once, at less variance (the coupled sampling of DiffuCoder).
"""

from __future__ import annotations

import torch
from torch import Tensor

T_MIN = 0.02
# 1/t is limited to this: below t = 0.1, small canvases have one masked token or none and mostly add variance.
WEIGHT_MAX = 10.0
# The share of blocks with all tokens masked, as at the start of sampling and in speculative drafts.
ALL_MASKED = 0.5


def mask_blocks(
    count: int, size: int, generator: torch.Generator | None = None, all_masked: float = ALL_MASKED
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the noise of ``count`` blocks of two canvases: masks (B, 2, size), loss weights (B, 2), pairedness (B,).

    A share ``all_masked`` of the blocks has one canvas with all tokens masked (t = 1; its complement would have no
    masked token). Every other block has a pair: at noise level t the first canvas masks each token with probability t,
    and the second canvas masks the tokens that the first shows.
    """
    level = T_MIN + (1 - T_MIN) * torch.rand(count, generator=generator)
    paired = torch.rand(count, generator=generator) >= all_masked
    level = torch.where(paired, level, 1.0)
    first = torch.rand(count, size, generator=generator) < level.unsqueeze(-1)
    levels = torch.stack((level, 1 - level), dim=-1)
    return torch.stack((first, ~first), dim=1), loss_weight(levels), paired


def loss_weight(level: Tensor) -> Tensor:
    """Return the loss weight 1/t of a masked token at noise level t, at most `WEIGHT_MAX`."""
    return (1.0 / level.clamp(min=1e-6)).clamp(max=WEIGHT_MAX)
