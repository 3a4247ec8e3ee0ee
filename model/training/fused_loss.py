"""Computes the cross-entropy of hidden rows over the vocabulary together with its gradient, chunk by chunk.

The logits are by far the largest tensors of a pass: 49,152 values for each row. Only the logits of one chunk exist at a
time, and the gradient is computed from them at once, so no logits are stored or recomputed (the fused linear
cross-entropy of Liger Kernel, Hsu et al. 2024; for the reasons see Wijmans et al. 2025).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 512
"""The rows of a chunk. Its logits take 50 MB in bf16, 100 MB in fp32."""


class _FusedCrossEntropy(torch.autograd.Function):
    """Weighted sum of cross-entropies; the forward pass computes the gradient, since the loss is the only output."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, matrix: Tensor, target: Tensor, scale: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden.device.type, enabled=False):
            rows, outputs = hidden.to(dtype), matrix.to(dtype)
            nats = torch.empty(len(rows), device=rows.device)
            to_rows = torch.empty_like(rows)
            to_matrix = torch.zeros_like(matrix)
            for begin in range(0, len(rows), CHUNK):
                part = slice(begin, begin + CHUNK)
                logits = rows[part] @ outputs.T  # (C, V)
                nats[part], logits = slopes(logits, target[part], scale[part])
                to_rows[part] = logits @ outputs
                to_matrix += logits.T @ rows[part]
        ctx.save_for_backward(to_rows.to(hidden.dtype), to_matrix)
        ctx.mark_non_differentiable(nats)
        return (nats * scale).sum(), nats

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        to_rows, to_matrix = ctx.saved_tensors
        return to_rows * gradient, to_matrix.mul_(gradient), None, None, None


def slopes(logits: Tensor, target: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nats of each row's target (C,), and the gradient of their sum weighted by ``scale`` (C,), as (C, V).

    logits: (C, V); fp32 logits are overwritten.
    """
    exact = logits.float()
    whole = exact.logsumexp(-1, keepdim=True)  # (C, 1)
    nats = whole[:, 0] - exact.gather(1, target[:, None])[:, 0]
    gradient = exact.sub_(whole).exp_().mul_(scale[:, None])
    gradient.scatter_add_(1, target[:, None], -scale[:, None])
    return nats, gradient.to(logits.dtype)


def cross_entropy(
    hidden: Tensor, matrix: Tensor, target: Tensor, scale: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the sum of the rows' cross-entropies weighted by ``scale`` (K,), and each row's, without gradient (K,).

    hidden: (K, W). matrix: (V, W), in fp32. target: (K,); a target of weight 0 is ignored and may be negative.
    dtype: the number format of the matrix products.
    """
    total, nats = _FusedCrossEntropy.apply(hidden, matrix, target.clamp(min=0), scale, dtype)  # type: ignore[no-untyped-call]
    return total, nats
