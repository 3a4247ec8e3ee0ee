"""How training computes attention by the design's mask, on each kind of device.

Owns the choice of kernel and the mask's form for it; who sees whom is `network.sees`. A processor multiplies matrices
in bf16 several times faster than torch's fused attention takes a mask there. On a GPU the mask is compiled into the
kernel and empty blocks of it are skipped (FlexAttention, Dong et al. 2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from mercury_lsp.engine.network import Attend, Rows, sees, visible


def attention(rows: Rows) -> tuple[Attend, Any]:
    """The way to attend among rows (N, T) on their device, and the mask that it takes."""
    if rows.position.device.type == "cuda":
        n, t = rows.position.shape

        def rule(batch: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return sees(rows.map(lambda row: row[batch, query]), rows.map(lambda row: row[batch, key]))

        return fused, create_block_mask(rule, n, None, t, t, rows.position.device, _compile=True)
    return product, visible(rows, rows)


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Any) -> Tensor:
    """FlexAttention; fast only inside of a compiled network. mask: a ``BlockMask``."""
    y = flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
    assert isinstance(y, Tensor)  # the log-sums were not asked for
    return y


def product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Two matrix products and a softmax. mask: bool (N, T, S)."""
    n, h, t, d = q.shape
    q = q.reshape(n, k.shape[1], -1, t, d) * d**-0.5  # (N, Hkv, G, T, D)
    scores = (q @ k.unsqueeze(2).transpose(-1, -2)).masked_fill(~mask[:, None, None], float("-inf"))
    return (scores.float().softmax(-1).to(v.dtype) @ v.unsqueeze(2)).reshape(n, h, t, d)
