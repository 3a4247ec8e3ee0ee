"""Computes attention by the design's mask in training, on each kind of device.

Owns the choice of kernel and the mask's form for it; who sees whom is `backends.attention.attends`. On a processor
torch's fused attention is fast forwards only: for its gradient, matrix products in bf16 are the faster way. On a GPU
the mask is compiled into the kernel and empty blocks of it are skipped (FlexAttention, Dong et al. 2024). Contexts
that are packed one after the other are attended to one by one on a processor, which never computes what no row sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any, cast

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
    if rows.position.device.type == "cuda":
        return fused, block_mask(rows, _compiled(create_block_mask), lengths)
    if lengths:
        return apart, [
            attention_mask(own, own).repeat(1, group, 1).unsqueeze(1) for own in split(rows, lengths)
        ]
    return (product if torch.is_grad_enabled() else None), attention_mask(rows, rows)


def split(rows: TokenLayout, lengths: Sequence[int]) -> list[TokenLayout]:
    """The rows (1, T) of each packed context, (1, length)."""
    parts = [torch.split(getattr(rows, field.name), list(lengths), dim=1) for field in fields(TokenLayout)]
    return [TokenLayout(*own) for own in zip(*parts, strict=True)]


def block_mask(rows: TokenLayout, make: Any = create_block_mask, lengths: Sequence[int] = ()) -> BlockMask:
    """The mask among rows (N, T) as FlexAttention takes it: which blocks are empty or full, and the rule for the rest.

    make: ``create_block_mask``, or that compiled. lengths: see `attention`.
    """
    n, t = rows.position.shape
    device = rows.position.device

    def rule(batch: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen: Tensor = attends(rows.map(lambda row: row[batch, query]), rows.map(lambda row: row[batch, key]))
        return seen

    if lengths:
        counts = torch.tensor(lengths, device=device)
        context = torch.repeat_interleave(torch.arange(len(counts), device=device), counts, output_size=t)

        def within(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return rule(batch, head, query, key) & (context[query] == context[key])

        return cast(BlockMask, make(within, n, None, t, t, device))
    made: BlockMask = make(rule, n, None, t, t, device)
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
