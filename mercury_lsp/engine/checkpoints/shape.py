"""The shape of a network: its sizes, and which weights these make.

Owns the names of the weights. Knows no weights, and no library that computes with them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

LARGEST_FACTOR = 1e15
_MOST = {
    "vocabulary": 4_000_000, "width": 65_536, "layers": 1_000, "heads": 1_024, "kv_heads": 1_024, "head_width": 1_024,
    "hidden": 1_000_000, "positions": 65_536,
}  # fmt: skip
_KINDS = frozenset({"qkv_bias", "head_norms", "tied"})


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network. ``heads`` is a multiple of ``kv_heads``: grouped-query attention.

    Our own networks have none of what the last three tell: ``qkv_bias``, vectors added to queries, keys and values, as
    in Qwen2; ``head_norms``, an RMSNorm of each query and key head, as in Qwen3; not ``tied``, an output matrix of its
    own, where else the embedding is that too.
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

    @classmethod
    def of(cls, values: dict[str, object]) -> Shape:
        """Read a shape from a configuration, unchecked. Raises ``TypeError`` for missing or unknown fields."""
        return cls(**values)  # type: ignore[arg-type]  # a wrong name is the TypeError promised above

    def check(self) -> None:
        """Raises ``ValueError`` where no network has such sizes, before anything of these sizes is made."""
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
                raise ValueError(f"its {name} must be a whole number up to {most:,}")
        for name in ("rope_theta", "norm_eps"):
            value = getattr(self, name)
            if (
                not isinstance(value, (int, float))
                or isinstance(value, bool)
                or not 0 < value <= LARGEST_FACTOR
            ):
                raise ValueError(f"its {name} must be a number above 0")
        if self.heads % self.kv_heads or self.head_width % 2:
            raise ValueError("its attention heads do not fit each other")

    @property
    def group(self) -> int:
        """How many query heads share a key head."""
        return self.heads // self.kv_heads

    @property
    def plain(self) -> bool:
        """Whether it is of the kind that our own networks are."""
        return self.tied and not (self.qkv_bias or self.head_norms)

    def values(self) -> dict[str, object]:
        """What `of` reads, without what only networks of other kinds need."""
        values = asdict(self)
        return values if not self.plain else {name: values[name] for name in values if name not in _KINDS}

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The dimensions of each weight by its name: matrices (outputs, inputs), and vectors, most of them norms'."""
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
        """How many numbers all weights are."""
        return sum(math.prod(size) for size in self.weights().values())
