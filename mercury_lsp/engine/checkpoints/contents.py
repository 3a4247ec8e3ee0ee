"""Checks whether a folder holds a model, by its files' headers, without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.checkpoint import CONFIG, CheckpointError
from mercury_lsp.engine.checkpoints.gguf_checkpoint import is_gguf, read_gguf_checkpoint
from mercury_lsp.engine.checkpoints.huggingface import INDEX
from mercury_lsp.engine.checkpoints.json_values import read_object
from mercury_lsp.engine.checkpoints.weight_file import read_weight_index
from mercury_lsp.engine.tokenizer import Tokenizer

# A tokenizer can be made from these files.
_VOCABULARY = ("vocab.json", "merges.txt")


def model_bytes(model: Path) -> int:
    """The bytes of a model's folder or file. Raises ``OSError``."""
    files = [model] if model.is_file() else model.iterdir()
    return sum(file.stat().st_size for file in files if file.is_file())


def check_model_folder(folder: Path) -> None:
    """Raises `CheckpointError` if a folder holds no model that can be read, or a GGUF file none that can run here.

    The architecture of an open model in a folder is checked when it is loaded.
    """
    if is_gguf(folder):
        read_gguf_checkpoint(folder)
        return
    config = _object(folder / CONFIG)
    if "format" in config:
        checkpoint.read_checkpoint(folder)
        return
    if not config.get("architectures") and not config.get("model_type"):
        raise CheckpointError(f"There is no model in {folder}: its {CONFIG} names no architecture.")
    if not (folder / Tokenizer.FILE).is_file() and not all((folder / n).is_file() for n in _VOCABULARY):
        raise CheckpointError(f"The model in {folder} has no {Tokenizer.FILE}.")
    for shard in _shards(folder):
        if not _is_complete(shard):
            raise CheckpointError(f"The model's {shard} is missing or not whole; download it again.")


def _object(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `CheckpointError`."""
    try:
        return read_object(file)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no model in {file.parent}: it has no {file.name}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The model's {file} cannot be used: {error}.") from error


def _shards(folder: Path) -> list[Path]:
    """The files of a model's weights, by its index or all. Raises `CheckpointError`."""
    shards = sorted(folder.glob("*.safetensors"))
    if (folder / INDEX).is_file():
        weights = _object(folder / INDEX).get("weight_map")
        if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights.values()):
            raise CheckpointError(f"The model's {folder / INDEX} names no files.")
        shards = [folder / Path(name).name for name in sorted(set(weights.values()))]
    if not shards:
        raise CheckpointError(
            f"The model in {folder} has no safetensors: weights in other forms may hold code and are never loaded."
        )
    return shards


def _is_complete(shard: Path) -> bool:
    """Whether a file of weights is as long as its header says."""
    try:
        read_weight_index(shard)
    except (OSError, ValueError):
        return False
    return True
