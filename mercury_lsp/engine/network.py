"""The network: a Llama-shaped transformer, and the one rule of who sees whom.

Owns the architecture and `visible`, the attention rule of training and serving alike. Knows no sampling, no file
format, and nothing of how the rows it is given came about.

A *clean* row holds a known token and sees the clean rows up to itself: it is causal. A *canvas* is an anchor (a copy
of the token before a block) and the block's rows, masked or not; each sees the clean rows before the block and its
whole canvas both ways. Row i predicts token i+1, as in an autoregressive model, so the anchor predicts the block's
first token. Training may hang several *branches* (a rest of the line, a middle) on one clean trunk: a branch sees
the trunk up to where it forks off. After BD3-LM (Arriola et al. 2025) and the shifted block diffusion of Fast-dLLM v2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network. ``heads`` is a multiple of ``kv_heads``: grouped-query attention."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    rope_theta: float = 100_000.0
    norm_eps: float = 1e-5
    positions: int = 4096

    @classmethod
    def of(cls, values: dict[str, object]) -> Shape:
        """Read a shape from a configuration. Raises ``TypeError`` for missing or unknown fields."""
        return cls(**values)  # type: ignore[arg-type]  # a wrong name is the TypeError promised above


@dataclass(frozen=True, slots=True)
class Rows:
    """Where each row stands, as integer tensors of one shape (..., T).

    ``position`` is the token's own; ``start`` is the first position that a row no longer sees of the clean tokens;
    ``canvas`` is 0 for clean rows, else the canvas's number; ``branch`` is 0 on the trunk, else the branch's number;
    ``fork`` is the number of trunk tokens that a branch sees.
    """

    position: Tensor
    start: Tensor
    canvas: Tensor
    branch: Tensor
    fork: Tensor

    @classmethod
    def clean(cls, first: int, count: int) -> Rows:
        """Rows of ``count`` known tokens from position ``first`` on, on the trunk."""
        position = torch.arange(first, first + count)
        zero = torch.zeros_like(position)
        return cls(position, position + 1, zero, zero, position + 1)

    @classmethod
    def block(cls, first: int, size: int, number: int = 1) -> Rows:
        """Rows of one canvas on the trunk: the anchor at ``first - 1`` and ``size`` tokens from ``first`` on."""
        position = torch.arange(first - 1, first + size)
        zero, start = torch.zeros_like(position), torch.full_like(position, first)
        return cls(position, start, zero + number, zero, start)

    @classmethod
    def join(cls, *parts: Rows) -> Rows:
        """Rows one after the other, along the last dimension."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts], -1) for field in fields(cls)))

    def map(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """The same rows with ``change`` applied to each field."""
        return Rows(*(change(getattr(self, field.name)) for field in fields(self)))


def visible(query: Rows, key: Rows) -> Tensor:
    """Which key each query sees. (..., Tq) and (..., Tk) -> bool (..., Tq, Tk)."""
    return sees(query.map(lambda row: row.unsqueeze(-1)), key.map(lambda row: row.unsqueeze(-2)))


def sees(q: Rows, k: Rows) -> Tensor:
    """The attention rule, for queries and keys of one shape, or of shapes that broadcast."""
    lineage = (k.branch == q.branch) | ((k.branch == 0) & (k.position < q.fork))
    context = (k.canvas == 0) & lineage & (k.position < q.start)
    together = (k.canvas > 0) & (k.canvas == q.canvas)
    return context | together


class Past(Protocol):
    """Keys and values of earlier rows."""

    def join(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Take a layer's new keys and values (N, Hkv, T, D); give all to attend to (N, Hkv, S, D)."""
        ...


class Attend(Protocol):
    """A way to compute attention."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Any) -> Tensor:
        """Heads (N, H, T, D) over keys and values (N, Hkv, S, D), H a multiple of Hkv; returns (N, H, T, D).

        ``mask`` is what `Network.forward` was given.
        """
        ...


def folded(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Torch's fused attention; ``mask`` is bool (N, 1, G T, S).

    The query heads of a group become more rows of its one key head: no key or value is ever repeated.
    """
    n, kv_heads = k.shape[:2]
    y = F.scaled_dot_product_attention(q.reshape(n, kv_heads, -1, q.shape[-1]), k, v, attn_mask=mask)
    return y.reshape(q.shape)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions (Su et al. 2021, in Llama's half-split form)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.qkv = nn.Linear(shape.width, (shape.heads + 2 * shape.kv_heads) * shape.head_width, bias=False)
        self.out = nn.Linear(shape.heads * shape.head_width, shape.width, bias=False)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend, mask: Any, layer: int, past: Past | None
    ) -> Tensor:
        """(N, T, W) in and out; ``turn`` the rows' cosines and sines (N, 1, T, D / 2)."""
        n, t, _ = x.shape
        shape = self.shape
        heads = self.qkv(x).view(n, t, -1, shape.head_width).transpose(1, 2)  # (N, H + 2 Hkv, T, D)
        q, k, v = heads.split((shape.heads, shape.kv_heads, shape.kv_heads), dim=1)
        q, k = rotate(q, turn), rotate(k, turn)
        if past is not None:
            k, v = past.join(layer, k, v)
        y = attend(q, k, v, mask).transpose(1, 2).reshape(n, t, -1)
        out: Tensor = self.out(y)
        return out


class Layer(nn.Module):
    """Attention and a SwiGLU feed-forward (Shazeer 2020), each behind an RMSNorm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        self.attention = Attention(shape)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        self.gate_up = nn.Linear(shape.width, 2 * shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend, mask: Any, layer: int, past: Past | None
    ) -> Tensor:
        """As `Attention.forward`."""
        x = x + self.attention(self.attention_norm(x), turn, attend, mask, layer, past)
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        fed: Tensor = x + self.down(F.silu(gate) * up)
        return fed


class Network(nn.Module):
    """Token ids in, hidden rows out; `logits` turns the rows one asks for into next-token logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        self.cosine: Tensor
        self.sine: Tensor
        self.build_tables()

    def build_tables(self) -> None:
        """Make the tables of rotary angles; they are derived, so no checkpoint holds them."""
        shape = self.shape
        power = torch.arange(0, shape.head_width, 2, dtype=torch.float64, device="cpu") / shape.head_width
        angle = torch.outer(
            torch.arange(shape.positions, dtype=torch.float64, device="cpu"), shape.rope_theta**-power
        )
        self.register_buffer("cosine", angle.cos().float(), persistent=False)  # (P, D / 2)
        self.register_buffer("sine", angle.sin().float(), persistent=False)

    def forward(
        self,
        ids: Tensor,
        position: Tensor,
        mask: Any = None,
        past: Past | None = None,
        attend: Attend | None = None,
    ) -> Tensor:
        """Run rows through all layers.

        ids, position: (N, T). mask: bool (N, T, S), who sees whom by `visible`; None where every row sees every key.
        past: earlier keys and values, which come before the new ones. attend: another way to compute attention than
        `folded`, which is then given the mask as it is. Returns (N, T, width), normalised.
        """
        x = self.embedding(ids)  # (N, T, W)
        turn = tuple(table[position].unsqueeze(1).to(x.dtype) for table in (self.cosine, self.sine))
        if attend is None:
            attend = folded
            if mask is not None:  # (N, 1, G T, S): a row for each query head of a group
                mask = mask.repeat(1, self.shape.heads // self.shape.kv_heads, 1).unsqueeze(1)
        for index, layer in enumerate(self.layers):
            x = layer(x, turn, attend, mask, index, past)
        hidden: Tensor = self.norm(x)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits of hidden rows: (..., width) -> (..., vocabulary). The embedding is tied."""
        return F.linear(hidden, self.embedding.weight)

    def matrices(self) -> Iterator[tuple[str, Tensor]]:
        """The weights that are matrices, by name: what quantisation may touch."""
        return ((name, weight) for name, weight in self.named_parameters() if weight.ndim == 2)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each head's halves by its position's angles. (N, H, T, D) with two of (N, 1, T, D / 2)."""
    cosine, sine = turn
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cosine - right * sine, right * cosine + left * sine), dim=-1)
