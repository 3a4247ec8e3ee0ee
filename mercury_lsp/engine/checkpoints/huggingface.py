"""Reads open checkpoints: a folder from a model hub, with safetensors, ``config.json`` and ``tokenizer.json``.

Weights are read one by one later; this module reads their names and sizes. Every defect of a folder ends in a
`CheckpointError` of one sentence. A checkpoint is never unpickled and never runs code. `families` interprets the
configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mercury_lsp.engine.checkpoints.checkpoint import CONFIG, as_checkpoint_error
from mercury_lsp.engine.checkpoints.json_values import object_field, read_object, token_id
from mercury_lsp.engine.checkpoints.open_tokenizer import OpenTokenizer
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.checkpoints.weight_file import StoredWeight, read_weight_index
from mercury_lsp.engine.open_models.families import (
    Family,
    Fim,
    Unsupported,
    checkpoint_weights,
    family_of,
    fim_of,
    mask_of,
    shape_of,
)

INDEX = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth")
# Tables that some programs save with the weights.
_DERIVED = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """An open checkpoint without its weights.

    ``mask``: the mask's id. ``fim``: the prompt tokens of a block-causal model, None for others. ``ends``: ids of the
    stop tokens. ``files``: the place of each of the checkpoint's weights by name.
    """

    name: str
    folder: Path
    family: Family
    shape: Shape
    tokenizer: OpenTokenizer
    mask: int
    fim: Fim | None
    ends: frozenset[int]
    files: Mapping[str, StoredWeight]

    @property
    def end(self) -> int:
        """The stop token that closes a text in a prompt."""
        added = self.tokenizer.added
        return next(
            (added[name] for name in self.family.ends if added.get(name) in self.ends), min(self.ends)
        )

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that must never be emitted: special tokens but stop tokens, and rows of the embedding without a token."""
        allowed = set(self.ends)
        if self.family.expand:
            allowed.add(self.tokenizer.added[self.family.expand])
        spare = range(self.tokenizer.size, self.shape.vocabulary)
        return tuple(sorted({*self.tokenizer.added.values(), *spare, self.mask} - allowed))

    def parts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The network's weights by name, in order, each with its weights in the checkpoint."""
        return ((name, checkpoint_weights(self.family, name)) for name in self.shape.weights())


def is_open(folder: Path) -> bool:
    """Whether a folder's checkpoint is an open one, not in our own format."""
    try:
        return "format" not in read_object(folder / CONFIG)
    except (OSError, ValueError):
        # `checkpoint` reports the defect.
        return False


def read_open_checkpoint(folder: Path) -> OpenCheckpoint:
    """Read a checkpoint and check its weights against its configuration. Raises `CheckpointError`."""
    with as_checkpoint_error(folder):
        config = read_object(folder / CONFIG)
        tokenizer = OpenTokenizer.load(folder)
        settings = folder / "tokenizer_config.json"
        named = read_object(settings).get("mask_token") if settings.is_file() else None
        mask_name = named.get("content", "") if isinstance(named, dict) else str(named or "")
        family = family_of(config, tokenizer.added, folder.name, mask_name)
        shape = shape_of(family, config)
        files = weight_files(folder)
        # Some output matrices are stored, though the configuration says that they are tied.
        if checkpoint_weights(family, "output.weight")[0] in files:
            shape = replace(shape, tied=False)
        mask = mask_of(family, config, tokenizer.added)
        ends = _ends(family, config, tokenizer)
        if not mask < shape.vocabulary:
            raise Unsupported(f"its mask {mask} is no row of its embedding")
        if (largest := max(*ends, tokenizer.size - 1)) >= shape.vocabulary:
            raise Unsupported(f"its token {largest} is no row of its embedding")
        fim = fim_of(family, tokenizer.added) if family.block_causal else None
        loaded = OpenCheckpoint(folder.name, folder, family, shape, tokenizer, mask, fim, ends, files)
        check_weights(loaded)
        return loaded


def weight_files(folder: Path) -> dict[str, StoredWeight]:
    """The place of each weight of a folder by name, by its index if there is one. Raises ``ValueError``."""
    shards = (
        [folder / SINGLE_FILE] if (folder / SINGLE_FILE).is_file() else sorted(folder.glob("*.safetensors"))
    )
    if (folder / INDEX).is_file():
        named = set(map(str, object_field(read_object(folder / INDEX), "weight_map").values()))
        if wrong := [name for name in named if Path(name).name != name or "\0" in name]:
            raise ValueError(f"its index names {wrong[0]!r}, which is outside of the folder")
        shards = [folder / name for name in sorted(named)]
        if missing := [shard.name for shard in shards if not shard.is_file()]:
            raise ValueError(f"its file {missing[0]} is missing; download it again")
    if not shards:
        pickles = [path.name for kind in _PICKLES for path in sorted(folder.glob(kind))]
        if pickles:
            raise ValueError(f"its weights are a pickle, {pickles[0]}, which is never read; use safetensors")
        raise ValueError("it has no *.safetensors")
    files: dict[str, StoredWeight] = {}
    for shard in shards:
        files |= read_weight_index(shard)
    return files


def _ends(family: Family, config: Mapping[str, Any], tokenizer: OpenTokenizer) -> frozenset[int]:
    """Ids of the stop tokens."""
    value = config.get("eos_token_id")
    listed = value if isinstance(value, list) else [] if value is None else [value]
    ids = {token_id(number, "eos_token_id") for number in listed}
    ids |= {tokenizer.added[name] for name in family.ends if name in tokenizer.added}
    if not ids:
        raise Unsupported("nothing tells which token ends a text")
    return frozenset(ids)


def check_weights(loaded: OpenCheckpoint) -> None:
    """Raises ``ValueError`` if the weights differ from the shape's in name or dimensions."""
    wanted = loaded.shape.weights()
    used: set[str] = set()
    for name, parts in loaded.parts():
        if missing := [part for part in parts if part not in loaded.files]:
            raise ValueError(f"its weight {missing[0]} is missing")
        dims = [loaded.files[part].shape for part in parts]
        whole = (sum(size[0] for size in dims), *dims[0][1:])
        if whole != wanted[name]:
            raise ValueError(f"its weights {', '.join(parts)} are {whole}, where {wanted[name]} is expected")
        used.update(parts)
    unused = [name for name in loaded.files if name not in used and not name.endswith(_DERIVED)]
    if unused:
        raise ValueError(f"its weight {unused[0]} has no place in a {loaded.family.name} model")
