"""Defines the shape of a network: its sizes, and the names and dimensions of its weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

MAX_FACTOR = 1e15
_MAX_SIZES = {
    "vocabulary": 4_000_000, "width": 65_536, "layers": 1_000, "heads": 1_024, "kv_heads": 1_024, "head_width": 1_024,
    "hidden": 1_000_000, "positions": 65_536,
}  # fmt: skip
_OPEN_MODEL_FIELDS = frozenset({"qkv_bias", "head_norms", "tied", "rope_factors", "rope_magnitude"})


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a network. ``heads`` is a multiple of ``kv_heads``: grouped-query attention.

    The fields from ``qkv_bias`` on are for open models. ``qkv_bias``: queries, keys and values have biases, as in
    Qwen2. ``head_norms``: each query and key head has an RMSNorm, as in Qwen3. ``tied``: the embedding is also the
    output matrix. ``rope_factors``: divisors of the rotary frequencies (head_width / 2), empty if all are 1, and
    ``rope_magnitude``, the factor of the rotated values: both extend the context beyond that of the first training.
    """

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
    qkv_bias: bool = False
    head_norms: bool = False
    tied: bool = True
    rope_factors: tuple[float, ...] = ()
    rope_magnitude: float = 1.0

    def check(self) -> None:
        """Raise ``ValueError`` for invalid sizes; to be called before memory is allocated."""
        for name, limit in _MAX_SIZES.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= limit:
                raise ValueError(f"its {name} must be a whole number up to {limit:,}")
        for name in ("rope_theta", "norm_eps"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= MAX_FACTOR:
                raise ValueError(f"its {name} must be a number above 0")
        if self.heads % self.kv_heads or self.head_width % 2:
            raise ValueError("its attention heads do not fit each other")
        if self.rope_factors and len(self.rope_factors) != self.head_width // 2:
            raise ValueError("its rotary frequencies and its attention heads do not fit each other")
        if not all(0 < factor <= MAX_FACTOR for factor in (*self.rope_factors, self.rope_magnitude)):
            raise ValueError("its rotary factors must be numbers above 0")

    @property
    def group(self) -> int:
        """The number of query heads that share a key head."""
        return self.heads // self.kv_heads

    @property
    def plain(self) -> bool:
        """Whether the network has none of the features that only open models have."""
        return self.tied and not (self.qkv_bias or self.head_norms or self.rope_factors)

    def rotary_tables(self, positions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the cosines and sines of the first positions' rotary angles, each (positions, head_width / 2)."""
        power = np.arange(0, self.head_width, 2) / self.head_width
        frequency = self.rope_theta**-power / np.array(self.rope_factors or 1.0)
        angle = np.outer(np.arange(positions), frequency)
        cosine, sine = np.cos(angle) * self.rope_magnitude, np.sin(angle) * self.rope_magnitude
        return cosine.astype(np.float32), sine.astype(np.float32)

    def values(self) -> dict[str, object]:
        """Return the fields by name, without the fields of open models if all have their defaults."""
        values = asdict(self)
        return (
            values
            if not self.plain
            else {name: values[name] for name in values if name not in _OPEN_MODEL_FIELDS}
        )

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Return the dimensions of each weight by name: matrices (outputs, inputs), and vectors."""
        width, inner = self.width, self.heads * self.head_width
        qkv = inner + 2 * self.kv_heads * self.head_width
        sizes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocabulary, width)}
        for i in range(self.layers):
            sizes |= {
                f"layers.{i}.attention_norm.weight": (width,),
                f"layers.{i}.attention.qkv.weight": (qkv, width),
                f"layers.{i}.attention.out.weight": (width, inner),
                f"layers.{i}.feed_norm.weight": (width,),
                f"layers.{i}.gate_up.weight": (2 * self.hidden, width),
                f"layers.{i}.down.weight": (width, self.hidden),
            }
            if self.qkv_bias:
                sizes[f"layers.{i}.attention.qkv.bias"] = (qkv,)
            if self.head_norms:
                sizes |= {f"layers.{i}.attention.{head}_norm.weight": (self.head_width,) for head in "qk"}
        sizes["norm.weight"] = (width,)
        return sizes if self.tied else sizes | {"output.weight": (self.vocabulary, width)}

    @property
    def parameters(self) -> int:
        """The number of values of all weights."""
        return sum(math.prod(size) for size in self.weights().values())
