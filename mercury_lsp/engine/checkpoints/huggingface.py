"""Open checkpoints: a folder as model hubs give it, with safetensors, ``config.json`` and ``tokenizer.json``.

Owns the reading of such a folder up to the weights' names and sizes; whoever computes reads the weights one by one.
Every way in which a folder can be wrong ends in a `CheckpointError` of one sentence. Never pickle, never code from a
checkpoint. What the parts of a configuration mean is `families`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mercury_lsp.engine.checkpoints.checkpoint import CONFIG, or_sentence
from mercury_lsp.engine.checkpoints.json_values import part, read_object, token_id
from mercury_lsp.engine.checkpoints.open_tokenizer import OpenTokenizer
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.checkpoints.weight_file import StoredWeight, read_weights
from mercury_lsp.engine.open_models.families import (
    Family,
    Fim,
    Unsupported,
    family_of,
    fim_of,
    mask_of,
    shape_of,
    theirs,
)

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth")
_DERIVED = (
    "rotary_emb.inv_freq",
    "rotary_pos_emb.inv_freq",
)  # tables that some programs save with the weights


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """What `load` found. ``mask``: the mask's id; ``fim``: how a block-causal model is asked, None for the others;
    ``forbidden``: ids that must never be emitted; ``files``: where each of the checkpoint's weights is, by its name."""

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
        """The end that a text is closed with."""
        added = self.tokenizer.added
        return next(
            (added[name] for name in self.family.ends if added.get(name) in self.ends), min(self.ends)
        )

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that must never be emitted: all special ones but ends, and rows of the embedding that are no token."""
        allowed = set(self.ends)
        if self.family.expand:
            allowed.add(self.tokenizer.added[self.family.expand])
        spare = range(self.tokenizer.size, self.shape.vocabulary)
        return tuple(sorted({*self.tokenizer.added.values(), *spare, self.mask} - allowed))

    def parts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The network's weights by name, in order, each with those of the checkpoint that it is made of."""
        return ((name, theirs(self.family, name)) for name in self.shape.weights())


def is_open(folder: Path) -> bool:
    """Whether a folder's checkpoint is not in our own format, so that `load` is for it."""
    try:
        return "format" not in read_object(folder / CONFIG)
    except (OSError, ValueError):
        return False  # for `checkpoint` to complain of


def load(folder: Path) -> OpenCheckpoint:
    """Open a checkpoint and check that its weights are what its configuration says. Raises `CheckpointError`."""
    with or_sentence(folder):
        config = read_object(folder / CONFIG)
        tokenizer = OpenTokenizer.load(folder)
        settings = folder / "tokenizer_config.json"
        named = read_object(settings).get("mask_token") if settings.is_file() else None
        mask_name = named.get("content", "") if isinstance(named, dict) else str(named or "")
        family = family_of(config, tokenizer.added, folder.name, mask_name)
        shape = shape_of(family, config)
        files = files_of(folder)
        if theirs(family, "output.weight")[0] in files:  # some are trained apart, though declared tied
            shape = replace(shape, tied=False)
        mask = mask_of(family, config, tokenizer.added)
        ends = _ends(family, config, tokenizer)
        if not mask < shape.vocabulary:
            raise Unsupported(f"its mask {mask} is no row of its embedding")
        if (most := max(*ends, tokenizer.size - 1)) >= shape.vocabulary:
            raise Unsupported(f"its token {most} is no row of its embedding")
        fim = fim_of(family, tokenizer.added) if family.block_causal else None
        found = OpenCheckpoint(folder.name, folder, family, shape, tokenizer, mask, fim, ends, files)
        compare(found)
        return found


def files_of(folder: Path) -> dict[str, StoredWeight]:
    """Where each weight of a folder is, by its name: by the index where there is one. Raises ``ValueError``."""
    shards = [folder / SINGLE] if (folder / SINGLE).is_file() else sorted(folder.glob("*.safetensors"))
    if (folder / INDEX).is_file():
        named = set(map(str, part(read_object(folder / INDEX), "weight_map").values()))
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
        files |= read_weights(shard)
    return files


def _ends(family: Family, config: Mapping[str, Any], tokenizer: OpenTokenizer) -> frozenset[int]:
    """Ids of the tokens that end a text."""
    told = config.get("eos_token_id")
    listed = told if isinstance(told, list) else [] if told is None else [told]
    ids = {token_id(one, "eos_token_id") for one in listed}
    ids |= {tokenizer.added[name] for name in family.ends if name in tokenizer.added}
    if not ids:
        raise Unsupported("nothing tells which token ends a text")
    return frozenset(ids)


def compare(found: OpenCheckpoint) -> None:
    """Raises ``ValueError`` where the weights are not those that the shape asks for, by name and dimensions."""
    wanted = found.shape.weights()
    used: set[str] = set()
    for name, parts in found.parts():
        if missing := [part for part in parts if part not in found.files]:
            raise ValueError(f"its weight {missing[0]} is missing")
        dims = [found.files[part].shape for part in parts]
        whole = (sum(size[0] for size in dims), *dims[0][1:])
        if whole != wanted[name]:
            raise ValueError(f"its weights {', '.join(parts)} are {whole}, where {wanted[name]} is expected")
        used.update(parts)
    left = [name for name in found.files if name not in used and not name.endswith(_DERIVED)]
    if left:
        raise ValueError(f"its weight {left[0]} has no place in a {found.family.name} model")
