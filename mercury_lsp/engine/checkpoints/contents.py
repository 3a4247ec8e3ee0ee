"""Checks whether a folder or file is a model that can be read, without loading its weights."""

from __future__ import annotations

from pathlib import Path

from mercury_lsp.engine.checkpoints.checkpoint import (
    CONFIG,
    as_checkpoint_error,
    read_checkpoint,
)
from mercury_lsp.engine.checkpoints.gguf_checkpoint import is_gguf, read_gguf_checkpoint
from mercury_lsp.engine.checkpoints.huggingface import weight_files
from mercury_lsp.engine.checkpoints.json_values import read_object
from mercury_lsp.engine.tokenizer import Tokenizer

# A tokenizer can be made from these files.
_VOCABULARY = ("vocab.json", "merges.txt")


def model_bytes(model: Path) -> int:
    """Return the size in bytes of a model's folder or file. Raises ``OSError``."""
    files = [model] if model.is_file() else model.iterdir()
    return sum(file.stat().st_size for file in files if file.is_file())


def check_model_folder(folder: Path) -> None:
    """Raise `CheckpointError` if a folder has no readable model, or if a GGUF file has no supported model.

    The architecture of an open model in a folder is checked when it is loaded.
    """
    if is_gguf(folder):
        read_gguf_checkpoint(folder)
        return
    with as_checkpoint_error(folder):
        if not (folder / CONFIG).exists():
            raise ValueError(f"it has no {CONFIG}")
        config = read_object(folder / CONFIG)
        if "format" in config:
            read_checkpoint(folder)
            return
        if not config.get("architectures") and not config.get("model_type"):
            raise ValueError(f"its {CONFIG} names no architecture")
        if not (folder / Tokenizer.FILE).is_file() and not all((folder / n).is_file() for n in _VOCABULARY):
            raise ValueError(f"it has no {Tokenizer.FILE}")
        weight_files(folder)
