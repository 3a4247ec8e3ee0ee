"""The shape of a network: its sizes, and which weights these make.

Owns the names of the weights. Knows no weights, and no library that computes with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


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

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The dimensions of each weight by its name: matrices (outputs, inputs), and the norms' vectors (width,)."""
        width, inner = self.width, self.heads * self.head_width
        sizes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocabulary, width)}
        for i in range(self.layers):
            sizes |= {
                f"layers.{i}.attention_norm.weight": (width,),
                f"layers.{i}.attention.qkv.weight": (inner + 2 * self.kv_heads * self.head_width, width),
                f"layers.{i}.attention.out.weight": (width, inner),
                f"layers.{i}.feed_norm.weight": (width,),
                f"layers.{i}.gate_up.weight": (2 * self.hidden, width),
                f"layers.{i}.down.weight": (width, self.hidden),
            }
        return sizes | {"norm.weight": (width,)}

    @property
    def parameters(self) -> int:
        """How many numbers all weights are."""
        return sum(math.prod(size) for size in self.weights().values())
