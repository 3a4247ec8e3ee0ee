"""Reads open checkpoints: a folder from a model hub, with safetensors, ``config.json`` and ``tokenizer.json``.

This module reads the names and sizes of the weights; each weight is read later. Every defect of a folder raises a
`CheckpointError` of one sentence. Reading a checkpoint never unpickles and never runs its code. `families` interprets
the configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mercury_lsp.engine.checkpoints.checkpoint import CONFIG, as_checkpoint_error
from mercury_lsp.engine.checkpoints.json_values import object_field, read_object
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.checkpoints.open_tokenizer import OpenTokenizer
from mercury_lsp.engine.checkpoints.weight_file import StoredWeight, read_weight_index
from mercury_lsp.engine.open_models.families import family_of

INDEX = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth")


def is_open(folder: Path) -> bool:
    """Return whether a folder's checkpoint is open, that is, not in our own format."""
    try:
        return "format" not in read_object(folder / CONFIG)
    except (OSError, ValueError):
        # `read_checkpoint` will report the defect.
        return False


def read_open_checkpoint(folder: Path) -> OpenCheckpoint:
    """Read a checkpoint and check its weights against its configuration. Raises `CheckpointError`."""
    with as_checkpoint_error(folder):
        config = read_object(folder / CONFIG)
        tokenizer = OpenTokenizer.load(folder)
        settings_file = folder / "tokenizer_config.json"
        settings = read_object(settings_file) if settings_file.is_file() else {}
        family = family_of(config, tokenizer.added, folder.name, _token(settings, "mask_token"))
        start = _token(settings, "bos_token") if settings.get("add_bos_token") is True else ""
        files = weight_files(folder)
        return OpenCheckpoint.of(folder.name, folder, family, config, tokenizer, files, start)


def _token(settings: dict[str, Any], name: str) -> str:
    """Return the token that the tokenizer's settings have under a name; empty without any."""
    value = settings.get(name)
    return str(value.get("content", "") if isinstance(value, dict) else value or "")


def weight_files(folder: Path) -> dict[str, StoredWeight]:
    """Return the locations of a folder's weights by name; the index file, if any, lists the shards.

    Raises ``ValueError``.
    """
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
