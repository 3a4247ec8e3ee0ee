"""Models of either kind, our own checkpoints and open ones: how one is opened, and the engine that is made of it.

Owns the choice between the two, by the folder's configuration. Knows nothing of what either does.
"""

from __future__ import annotations

from collections.abc import Callable

from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.devices import executor_for, open_executor_for
from mercury_lsp.engine.checkpoints import checkpoint, huggingface
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.checkpoints.huggingface import OpenCheckpoint
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.open_models.engine import OpenModelEngine


def opened(model: str) -> Checkpoint | OpenCheckpoint:
    """The checkpoint of a model by its name or folder; "auto" is what the user selected. Raises `CheckpointError`."""
    folder = checkpoint.find(model)
    return huggingface.load(folder) if huggingface.is_open(folder) else checkpoint.load(folder)


def engine_on(loaded: Checkpoint | OpenCheckpoint, executor: Executor) -> LocalEngine | OpenModelEngine:
    """The engine of a checkpoint. ``executor`` runs it, and is nobody else's."""
    return (
        OpenModelEngine(loaded, executor)
        if isinstance(loaded, OpenCheckpoint)
        else LocalEngine(loaded, executor)
    )


def load(
    model: str,
    device: str = "auto",
    threads: int = 0,
    quantization: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> LocalEngine | OpenModelEngine:
    """Load a model by its name or folder: see `executor_for` and `open_executor_for`. Raises `CheckpointError`."""
    loaded = opened(model)
    if isinstance(loaded, OpenCheckpoint):
        return engine_on(loaded, open_executor_for(loaded, device, threads, quantization, progress))
    return engine_on(loaded, executor_for(loaded, device, threads, progress))
