"""Defines an open checkpoint: its interpreted configuration, its vocabulary, and the location of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.checkpoints.json_values import token_id
from mercury_lsp.engine.checkpoints.open_tokenizer import OpenTokenizer
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.checkpoints.weight_file import StoredWeight
from mercury_lsp.engine.open_models.configurations import QUERY, checkpoint_weights, shape_of, weight_factors
from mercury_lsp.engine.open_models.families import Config, Family, Fim, Unsupported, fim_of, mask_of

# Tables that some programs save with the weights.
_DERIVED = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """An open checkpoint without its weights.

    ``folder``: the checkpoint's folder, or its single file. ``mask``: the mask's id; None for autoregressive models.
    ``fim``: the prompt tokens of a model that decodes from left to right; None for other models. ``stop_tokens``: ids
    of the stop tokens. ``start``: the token at the start of such a model's prompt, or None. ``files``: the location of
    each stored weight by name. ``factors``: see `configurations.weight_factors`.
    """

    name: str
    folder: Path
    family: Family
    shape: Shape
    tokenizer: OpenTokenizer
    mask: int | None
    fim: Fim | None
    stop_tokens: frozenset[int]
    start: int | None
    files: Mapping[str, StoredWeight]
    factors: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        folder: Path,
        family: Family,
        config: Config,
        tokenizer: OpenTokenizer,
        files: Mapping[str, StoredWeight],
        start: str = "",
    ) -> OpenCheckpoint:
        """Interpret a configuration, and check the weights against it. Raises ``ValueError`` or ``KeyError``."""
        shape = shape_of(family, config)
        # Some checkpoints store an output matrix although their configuration says that it is tied.
        if checkpoint_weights(family, "output.weight")[0] in files:
            shape = replace(shape, tied=False)
        mask = mask_of(family, config, tokenizer.added)
        stop_tokens = _find_stop_tokens(family, config, tokenizer)
        if mask is not None and not mask < shape.vocabulary:
            raise Unsupported(f"its mask {mask} is no row of its embedding")
        if (largest := max(*stop_tokens, tokenizer.size - 1)) >= shape.vocabulary:
            raise Unsupported(f"its token {largest} is no row of its embedding")
        fim = fim_of(family, tokenizer.added) if family.left_to_right else None
        first = tokenizer.added.get(start)
        factors = weight_factors(config, shape)
        loaded = cls(name, folder, family, shape, tokenizer, mask, fim, stop_tokens, first, files, factors)
        check_weights(loaded)
        return loaded

    @property
    def fingerprint(self) -> str:
        """A hash of the files' paths, sizes and modification times; hashing their contents would take too long."""
        files = sorted({stored.file.resolve() for stored in self.files.values()})
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(repr(stats).encode()).hexdigest()

    @property
    def end_token(self) -> int:
        """The stop token that closes a text in a prompt."""
        added = self.tokenizer.added
        return next(
            (added[name] for name in self.family.stop_tokens if added.get(name) in self.stop_tokens),
            min(self.stop_tokens),
        )

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that must never be emitted: special tokens except stop tokens, and embedding rows without a token."""
        allowed = set(self.stop_tokens)
        if self.family.expand:
            allowed.add(self.tokenizer.added[self.family.expand])
        spare = range(self.tokenizer.size, self.shape.vocabulary)
        masks = [] if self.mask is None else [self.mask]
        return tuple(sorted({*self.tokenizer.added.values(), *spare, *masks} - allowed))

    def parts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the name of each weight of the network, in order, with the names of its parts in the checkpoint."""
        return ((name, checkpoint_weights(self.family, name)) for name in self.shape.weights())

    def factor(self, name: str, index: int) -> float:
        """Return the factor of the part ``index`` of the network's weight ``name``."""
        if name.endswith(("attention.qkv.weight", "attention.qkv.bias")):
            return self.factors.get(QUERY, 1.0) if index == 0 else 1.0
        outer = name if not name.startswith("layers.") else name.split(".", 2)[2]
        return self.factors.get(outer, 1.0)

    def row_order(self, part: str) -> NDArray[np.int64] | None:
        """Return the index in the stored weight ``part`` of each of the network's rows; None if the order is the same.

        GGUF files of Llama and Granite store the rows of query and key heads in another order, because llama.cpp
        rotates neighboring rows of a head, and `Network` its halves.
        """
        if self.family.weight_names != "gguf" or self.family.name not in ("llama", "granite"):
            return None
        heads = {"attn_q": self.shape.heads, "attn_k": self.shape.kv_heads}.get(part.split(".")[-2])
        if heads is None:
            return None
        rows = np.arange(heads * self.shape.head_width).reshape(heads, -1, 2)
        return rows.swapaxes(1, 2).ravel()


def _find_stop_tokens(family: Family, config: Config, tokenizer: OpenTokenizer) -> frozenset[int]:
    value = config.get("eos_token_id")
    listed = value if isinstance(value, list) else [] if value is None else [value]
    ids = {token_id(number, "eos_token_id") for number in listed}
    ids |= {tokenizer.added[name] for name in family.stop_tokens if name in tokenizer.added}
    if not ids:
        raise Unsupported("nothing tells which token ends a text")
    return frozenset(ids)


def check_weights(loaded: OpenCheckpoint) -> None:
    """Raise ``ValueError`` if the stored weights differ from those of the shape in name or dimensions."""
    expected = loaded.shape.weights()
    used: set[str] = set()
    for name, parts in loaded.parts():
        if missing := [part for part in parts if part not in loaded.files]:
            raise ValueError(f"its weight {missing[0]} is missing")
        dims = [loaded.files[part].shape for part in parts]
        whole = (sum(size[0] for size in dims), *dims[0][1:])
        if whole != expected[name]:
            raise ValueError(
                f"its weights {', '.join(parts)} are {whole}, where {expected[name]} is expected"
            )
        used.update(parts)
    unused = [name for name in loaded.files if name not in used and not name.endswith(_DERIVED)]
    if unused:
        raise ValueError(f"its weight {unused[0]} has no place in a {loaded.family.name} model")
