"""Defines the network, a Llama-shaped transformer, in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.checkpoints.pack import Packed
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.system import default_threads


class Past(Protocol):
    """The keys and values of earlier rows."""

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's new keys and values (N, Hkv, T, D); return all keys and values of the pass, (N, Hkv, S, D)."""
        ...


Attend = Callable[[Tensor, Tensor, Tensor, Any], Tensor]
"""Computes attention: heads (N, H, T, D) over keys and values (N, Hkv, S, D), H a multiple of Hkv, by the mask of
`Network.forward`; returns (N, H, T, D)."""


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Compute attention by PyTorch's fused kernel; ``mask`` is bool (N, 1, G T, S).

    The query heads of a group become additional rows of their key head, so that no key or value is repeated.
    """
    n, kv_heads = k.shape[:2]
    y = F.scaled_dot_product_attention(q.reshape(n, kv_heads, -1, q.shape[-1]), k, v, attn_mask=mask)
    return y.reshape(q.shape)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions (Su et al. 2021, in Llama's half-split form)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.qkv = nn.Linear(
            shape.width, (shape.heads + 2 * shape.kv_heads) * shape.head_width, shape.qkv_bias
        )
        self.out = nn.Linear(shape.heads * shape.head_width, shape.width, bias=False)
        if shape.head_norms:
            self.q_norm = nn.RMSNorm(shape.head_width, eps=shape.norm_eps)
            self.k_norm = nn.RMSNorm(shape.head_width, eps=shape.norm_eps)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        attend: Attend,
        mask: Any,
        layer: int,
        past: Past | None,
    ) -> Tensor:
        """Compute attention, (N, T, W) in and out; ``rotary``: the rows' cosines and sines (N, 1, T, D / 2)."""
        n, t, _ = x.shape
        shape = self.shape
        heads = self.qkv(x).view(n, t, -1, shape.head_width).transpose(1, 2)  # (N, H + 2 Hkv, T, D)
        q, k, v = heads.split((shape.heads, shape.kv_heads, shape.kv_heads), dim=1)
        if shape.head_norms:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, rotary), rotate(k, rotary)
        if past is not None:
            k, v = past.update(layer, k, v)
        y = attend(q, k, v, mask).transpose(1, 2).reshape(n, t, -1)
        out: Tensor = self.out(y)
        return out


class Layer(nn.Module):
    """Attention and a SwiGLU feed-forward (Shazeer 2020), each after an RMSNorm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        self.attention = Attention(shape)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        self.gate_up = nn.Linear(shape.width, 2 * shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        attend: Attend,
        mask: Any,
        layer: int,
        past: Past | None,
    ) -> Tensor:
        """Run the layer; the shapes are those of `Attention.forward`."""
        x = x + self.attention(self.attention_norm(x), rotary, attend, mask, layer, past)
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.down(F.silu(gate) * up)
        return out


class Network(nn.Module):
    """Turns token ids into hidden rows; `logits` turns hidden rows into next-token logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        if not shape.tied:
            self.output = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self.cosine: Tensor
        self.sine: Tensor
        self.build_tables()

    @classmethod
    def of(
        cls,
        loaded: Checkpoint,
        dtype: torch.dtype = torch.float32,
        progress: Callable[[float], None] | None = None,
    ) -> Network:
        """Load a checkpoint's network on the CPU in ``dtype``, without gradients, which `requires_grad_` turns on.

        The network shares no memory with the checkpoint. progress: called with the fraction done.
        """
        with torch.device("meta"):
            network = cls(loaded.shape)

        def to_tensor(weight: Packed | NDArray[np.float32]) -> Tensor:
            if isinstance(weight, Packed):
                return torch.from_numpy(weight.matrix()).to(dtype)
            return torch.tensor(weight, dtype=dtype)

        weights = {}
        with ThreadPoolExecutor(default_threads()) as pool:
            stored = loaded.weights()
            for count, (name, tensor) in enumerate(
                zip(stored, pool.map(to_tensor, stored.values()), strict=True), 1
            ):
                weights[name] = tensor
                if progress is not None:
                    progress(count / len(stored))
        network.load_state_dict(weights, strict=True, assign=True)
        network.build_tables()
        return network.requires_grad_(False).eval()

    def build_tables(self) -> None:
        """Compute the tables of rotary angles, which checkpoints do not contain."""
        cosine, sine = self.shape.rotary_tables(self.shape.positions)  # (P, D / 2)
        self.register_buffer("cosine", torch.from_numpy(cosine), persistent=False)
        self.register_buffer("sine", torch.from_numpy(sine), persistent=False)

    def forward(
        self,
        ids: Tensor,
        position: Tensor,
        mask: Any = None,
        past: Past | None = None,
        attend: Attend | None = None,
    ) -> Tensor:
        """Run rows through all layers.

        ids, position: (N, T). mask: bool (N, T, S) by `attention_mask`; None if every row sees every key. past: the
        keys and values of earlier rows. attend: replaces `fused_attention`, and gets ``mask`` unchanged. Returns the
        hidden rows (N, T, width), normalized.
        """
        x = self.embedding(ids)  # (N, T, W)
        rotary = tuple(table[position].unsqueeze(1).to(x.dtype) for table in (self.cosine, self.sine))
        if attend is None:
            attend = fused_attention
            if mask is not None:
                # (N, 1, G T, S): one row for each query head of a group.
                mask = mask.repeat(1, self.shape.heads // self.shape.kv_heads, 1).unsqueeze(1)
        for index, layer in enumerate(self.layers):
            x = layer(x, rotary, attend, mask, index, past)
        hidden: Tensor = self.norm(x)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the next-token logits of hidden rows: (..., width) -> (..., vocabulary)."""
        return F.linear(hidden, self.output_matrix)

    @property
    def output_matrix(self) -> Tensor:
        """The matrix from hidden rows to logits, (vocabulary, width); the embedding if the weights are tied."""
        return self.embedding.weight if self.shape.tied else self.output.weight

    def matrices(self) -> Iterator[tuple[str, Tensor]]:
        """Return the weights that are matrices, by name; quantization may change them."""
        return ((name, weight) for name, weight in self.named_parameters() if weight.ndim == 2)


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the halves of each head (N, H, T, D) by the cosines and sines of its position, two of (N, 1, T, D / 2)."""
    cosine, sine = rotary
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cosine - right * sine, right * cosine + left * sine), dim=-1)
