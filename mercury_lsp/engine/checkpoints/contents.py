"""Whether a folder holds a model at all, without loading it: what the files say of themselves.

Owns what a checkpoint of our own form and an open one must have. Whether an open one's architecture is known here is
told when it is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.checkpoint import CONFIG, CheckpointError
from mercury_lsp.engine.checkpoints.json_values import read_object
from mercury_lsp.engine.checkpoints.weight_file import read_weights
from mercury_lsp.engine.tokenizer import Tokenizer

INDEX = "model.safetensors.index.json"
_VOCABULARY = ("vocab.json", "merges.txt")  # from which a tokenizer can be made


def check(folder: Path) -> None:
    """Raises `CheckpointError`, of one sentence, where a folder holds no model that could be read."""
    config = _object(folder / CONFIG)
    if "format" in config:
        checkpoint.load(folder)
        return
    if not config.get("architectures") and not config.get("model_type"):
        raise CheckpointError(f"There is no model in {folder}: its {CONFIG} names no architecture.")
    if not (folder / Tokenizer.FILE).is_file() and not all((folder / n).is_file() for n in _VOCABULARY):
        raise CheckpointError(f"The model in {folder} has no {Tokenizer.FILE}.")
    for shard in _shards(folder):
        if not _whole(shard):
            raise CheckpointError(f"The model's {shard} is missing or not whole; download it again.")


def _object(file: Path) -> dict[str, Any]:
    """A file's JSON object. Raises `CheckpointError`."""
    try:
        return read_object(file)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no model in {file.parent}: it has no {file.name}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The model's {file} cannot be used: {error}.") from error


def _shards(folder: Path) -> list[Path]:
    """The files of a model's weights: those that its index names, or all that there are. Raises `CheckpointError`."""
    found = sorted(folder.glob("*.safetensors"))
    if (folder / INDEX).is_file():
        weights = _object(folder / INDEX).get("weight_map")
        if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights.values()):
            raise CheckpointError(f"The model's {folder / INDEX} names no files.")
        found = [folder / Path(name).name for name in sorted(set(weights.values()))]
    if not found:
        raise CheckpointError(
            f"The model in {folder} has no safetensors: weights in other forms may hold code and are never loaded."
        )
    return found


def _whole(shard: Path) -> bool:
    """Whether a file of weights is as long as its header says."""
    try:
        read_weights(shard)
    except (OSError, ValueError):
        return False
    return True
