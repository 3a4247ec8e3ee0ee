"""Computes attention in training: chooses the kernel for a device, and makes the mask in the form that it takes.

`backends.attention.attends` is the rule. Packed contexts are computed one by one, which never computes what no row
sees. Of padded ones: on a GPU the rule is compiled into the kernel, which skips empty blocks (FlexAttention, Dong et
al. 2024); on a CPU torch's fused attention is fast in forward passes only, and matrix products have the faster
gradient.
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
from mercury_lsp.engine.backends.network import Attend, folded


def attention(rows: TokenLayout, lengths: Sequence[int] = (), group: int = 1) -> tuple[Attend | None, Any]:
    """The way to attend among rows (N, T) on their device, None for the network's own, and the mask that it takes.

    lengths: of the contexts that are packed into one row (1, T); empty where each row of N is one context. group: query
    heads of one key head.
    """
    if lengths:
        return apart, [
            attention_mask(own, own).repeat(1, group, 1).unsqueeze(1) for own in split(rows, lengths)
        ]
    if rows.position.device.type == "cuda":
        return fused, block_mask(rows, _compiled(create_block_mask))
    return (product if torch.is_grad_enabled() else None), attention_mask(rows, rows)


def split(rows: TokenLayout, lengths: Sequence[int]) -> list[TokenLayout]:
    """The rows (1, T) of each packed context, (1, length)."""
    parts = [torch.split(getattr(rows, field.name), list(lengths), dim=1) for field in fields(TokenLayout)]
    return [TokenLayout(*own) for own in zip(*parts, strict=True)]


def block_mask(rows: TokenLayout, make: Any = create_block_mask) -> BlockMask:
    """The mask among rows (N, T) as FlexAttention takes it: which blocks are empty or full, and the rule for the rest.

    make: ``create_block_mask``, or that compiled.
    """
    n, t = rows.position.shape

    def rule(batch: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen: Tensor = attends(rows.map(lambda row: row[batch, query]), rows.map(lambda row: row[batch, key]))
        return seen

    made: BlockMask = make(rule, n, None, t, t, rows.position.device)
    return made


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Any) -> Tensor:
    """FlexAttention: a kernel where it is compiled, as it always is on a GPU; else a slow reference of it.

    mask: a ``BlockMask``.
    """
    alone = q.is_cuda and not torch.compiler.is_compiling()
    attend = _compiled(flex_attention) if alone else flex_attention
    q, k = q.to(v.dtype), k.to(v.dtype)  # the rotation leaves them in fp32, which autocast does not undo here
    y = attend(q, k, v, block_mask=mask, enable_gqa=True)
    assert isinstance(y, Tensor)  # the log-sums were not asked for
    return y


@cache
def _compiled(function: Any) -> Any:
    """Compiled for fixed shapes, once."""
    return torch.compile(function, dynamic=False)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def apart(q: Tensor, k: Tensor, v: Tensor, mask: Sequence[Tensor]) -> Tensor:
    """The network's own `folded` for each packed context by itself. mask: bool (1, 1, G T, T) of each."""
    lengths = [own.shape[-1] for own in mask]
    q, k = q.to(v.dtype), k.to(v.dtype)
    parts = zip(*(torch.split(x, lengths, dim=2) for x in (q, k, v)), mask, strict=True)
    return torch.cat([folded(*part) for part in parts], dim=2)


def product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Two matrix products and a softmax. mask: bool (N, T, S)."""
    n, h, t, d = q.shape
    q = q.reshape(n, k.shape[1], -1, t, d) * d**-0.5  # (N, Hkv, G, T, D)
    scores = (q @ k.unsqueeze(2).transpose(-1, -2)).masked_fill(~mask[:, None, None], float("-inf"))
    return (scores.float().softmax(-1).to(v.dtype) @ v.unsqueeze(2)).reshape(n, h, t, d)
