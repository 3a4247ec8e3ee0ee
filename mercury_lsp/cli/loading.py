"""Loads what several commands need, and ends with one clear sentence if that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mercury_lsp.errors import BadUsage, Failure

if TYPE_CHECKING:
    from pathlib import Path

    from mercury_lsp.config import Config
    from mercury_lsp.engine.api import Engine
    from mercury_lsp.engine.local_engine import LocalEngine
    from mercury_lsp.engine.open_models.engine import OpenModelEngine


def tokens_of(file: Path | None) -> dict[str, str]:
    """Names by token, of a file or the environment; see `read_tokens`. Raises `BadUsage`."""
    from mercury_lsp.tokens import ENVIRONMENT, read_tokens

    try:
        return read_tokens(file)
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        source = str(file) if file is not None else f"the variable {ENVIRONMENT}"
        raise BadUsage(f"No tokens can be taken from {source}: {reason}.") from error


def engine_of(config: Config) -> LocalEngine | OpenModelEngine:
    """The local engine that a configuration asks for. Raises `Failure` where it cannot be loaded."""
    from mercury_lsp.engine import load  # these import numpy
    from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError

    try:
        return load.load_engine(config.model, config.device, config.threads, config.quantization)
    except CheckpointError as error:
        raise Failure(str(error)) from error


def infiller_of(config: Config) -> Engine:
    """The engine of a configuration, local or remote. Raises `Failure` if it cannot be loaded."""
    from mercury_lsp.completion import engines
    from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError  # imports numpy
    from mercury_lsp.remote.address import RemoteError

    try:
        return engines.load(config)
    except (CheckpointError, RemoteError) as error:
        raise Failure(str(error)) from error
