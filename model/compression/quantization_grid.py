"""Quantizes and packs weights as PyTorch tensors, in the number format of `checkpoints.pack`."""

from __future__ import annotations

import torch
from torch import Tensor

from mercury_lsp.engine.checkpoints.pack import Packed

# Factors tried on a group's range, since clipping a few outliers can pay for a finer grid.
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)


def pack(matrix: Tensor, bits: int, group: int, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Quantize a matrix (R, C) to ``bits`` bits; return planes uint8 (bits, R, C / 8), scales fp16 (R, C / group).

    scale: the scales (R, C / group) to use; by default each group's `nearest_scale`. C must be a multiple of ``group``
    and of 8.
    """
    rows, columns = matrix.shape
    values = matrix.float().view(rows, columns // group, group)
    top = 2 ** (bits - 1) - 1
    scale = nearest_scale(values, top) if scale is None else scale.float().unsqueeze(-1)
    levels = (quantize(values, scale, top) + top + 1).to(torch.uint8).view(rows, columns // 8, 8)
    planes = [(((levels >> bit) & 1) * _PLACES).sum(-1, dtype=torch.uint8) for bit in range(bits)]
    return torch.stack(planes), scale.squeeze(-1).half()


def nearest_scale(values: Tensor, top: int) -> Tensor:
    """Return the scales (..., 1) of groups (..., G), exact in fp16, with the least squared error of a few candidates.

    If the values lie on a grid already, the result is its scale, whichever end of the grid the group's peak is at.
    """
    peak = values.abs().amax(-1, keepdim=True).clamp(min=1e-8)
    best = torch.full_like(peak, torch.inf)
    scale = peak
    for shrink in (*_SHRINKS, top / (top + 1)):
        tried = (peak * shrink / top).half().float().clamp(min=1e-7)
        error = (quantize(values, tried, top) * tried - values).square().sum(-1, keepdim=True)
        scale = torch.where(error < best, tried, scale)
        best = torch.minimum(best, error)
    return scale


def quantize(values: Tensor, scale: Tensor, top: int) -> Tensor:
    """Return the nearest integer levels in [-top - 1, top]."""
    levels: Tensor = torch.clamp((values / scale).round(), -top - 1, top)
    return levels


def unpack(planes: Tensor, scale: Tensor) -> Tensor:
    """Return the float32 matrix (R, C) that `pack` stored, as serving reads it."""
    return torch.from_numpy(Packed(planes.numpy(), scale.numpy()).matrix())


_PLACES = 2 ** torch.arange(8, dtype=torch.uint8)
