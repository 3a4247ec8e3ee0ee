"""Computes attention with the project's mask in training, by the fastest kernel of each device.

The attention rule itself is `backends.attention.attends`. Packed contexts are computed one at a time, so no attention
between contexts is computed. For padded contexts, a GPU compiles the mask into the kernel, which skips the mask's empty
blocks (FlexAttention, Dong et al. 2024). On a CPU, torch's fused attention is fast only in the forward pass, so passes
with gradients use plain matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from mercury_lsp.engine.backends.attention import TokenLayout, attends, attention_mask
from mercury_lsp.engine.backends.network import Attend, fused_attention


def attention(rows: TokenLayout, lengths: Sequence[int] = (), group: int = 1) -> tuple[Attend | None, Any]:
    """Return the attention function for rows (N, T) on their device, None for the network's own, and its mask.

    lengths: the lengths of the contexts that are packed into one row (1, T); empty if each of the N rows is one
    context. group: the number of query heads for each key head.
    """
    if lengths:
        return attend_per_context, [
            attention_mask(own, own).repeat(1, group, 1).unsqueeze(1) for own in split(rows, lengths)
        ]
    if rows.position.device.type == "cuda":
        return fused, block_mask(rows, _compiled(create_block_mask))
    return (matmul_attention if torch.is_grad_enabled() else None), attention_mask(rows, rows)


def split(rows: TokenLayout, lengths: Sequence[int]) -> list[TokenLayout]:
    """Split packed rows (1, T) into the rows (1, length) of each context."""
    parts = [torch.split(getattr(rows, field.name), list(lengths), dim=1) for field in fields(TokenLayout)]
    return [TokenLayout(*own) for own in zip(*parts, strict=True)]


def block_mask(rows: TokenLayout, make: Any = create_block_mask) -> BlockMask:
    """Return the mask of rows (N, T) for FlexAttention: the empty and full blocks, and the rule for the others.

    make: ``create_block_mask``, plain or compiled.
    """
    n, t = rows.position.shape

    def rule(batch: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen: Tensor = attends(rows.map(lambda row: row[batch, query]), rows.map(lambda row: row[batch, key]))
        return seen

    made: BlockMask = make(rule, n, None, t, t, rows.position.device)
    return made


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Any) -> Tensor:
    """Compute attention by FlexAttention: compiled on a GPU, by the slow reference implementation elsewhere.

    mask: a ``BlockMask``.
    """
    alone = q.is_cuda and not torch.compiler.is_compiling()
    attend = _compiled(flex_attention) if alone else flex_attention
    # The rotation returns fp32, and autocast does not cover FlexAttention.
    q, k = q.to(v.dtype), k.to(v.dtype)
    y = attend(q, k, v, block_mask=mask, enable_gqa=True)
    # Without `return_lse` the result is one tensor.
    assert isinstance(y, Tensor)
    return y


@cache
def _compiled(function: Any) -> Any:
    """Return a function compiled for fixed shapes; each function is compiled once."""
    return torch.compile(function, dynamic=False)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend_per_context(q: Tensor, k: Tensor, v: Tensor, mask: Sequence[Tensor]) -> Tensor:
    """Compute each packed context by itself with `fused_attention`. mask: one bool (1, 1, G T, T) for each context."""
    lengths = [own.shape[-1] for own in mask]
    q, k = q.to(v.dtype), k.to(v.dtype)
    parts = zip(*(torch.split(x, lengths, dim=2) for x in (q, k, v)), mask, strict=True)
    return torch.cat([fused_attention(*part) for part in parts], dim=2)


def matmul_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Compute attention by two matrix products and a softmax. mask: bool (N, T, S)."""
    n, h, t, d = q.shape
    q = q.reshape(n, k.shape[1], -1, t, d) * d**-0.5  # (N, Hkv, G, T, D)
    scores = (q @ k.unsqueeze(2).transpose(-1, -2)).masked_fill(~mask[:, None, None], float("-inf"))
    return (scores.float().softmax(-1).to(v.dtype) @ v.unsqueeze(2)).reshape(n, h, t, d)
