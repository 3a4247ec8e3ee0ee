"""Loads a model, in our own format or an open one, and creates its engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.devices import executor_for
from mercury_lsp.engine.checkpoints import checkpoint, gguf_checkpoint, huggingface
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint, CheckpointError
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.open_models.engine import OpenModelEngine
from mercury_lsp.engine.prompt_layout import TaggedLayout


def load_checkpoint(model: str) -> Checkpoint | OpenCheckpoint:
    """Read the checkpoint of a model, given by name, folder or file; "auto" stands for the user's selection.

    Raises `CheckpointError`.
    """
    folder = checkpoint.find_model(model)
    if folder.is_file():
        return gguf_checkpoint.read_gguf_checkpoint(folder)
    if huggingface.is_open(folder):
        return huggingface.read_open_checkpoint(folder)
    return checkpoint.read_checkpoint(folder)


def make_engine(loaded: Checkpoint | OpenCheckpoint, executor: Executor) -> LocalEngine | OpenModelEngine:
    """Create the engine of a checkpoint, on an executor that no other engine uses."""
    if isinstance(loaded, OpenCheckpoint) and not loaded.family.causal:
        return OpenModelEngine(loaded, executor)
    return LocalEngine(loaded, executor)


def load_engine(
    model: str,
    device: str = "auto",
    threads: int = 0,
    quantization: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> LocalEngine | OpenModelEngine:
    """Load a model by name, folder or file; for the options see `executor_for`. Raises `CheckpointError`."""
    loaded = load_checkpoint(model)
    return make_engine(loaded, executor_for(loaded, device, threads, quantization, progress))


def load_local_engine(model: str, device: str = "auto", threads: int = 0) -> LocalEngine:
    """Load a model that `LocalEngine` runs: one of our own, or an open autoregressive model.

    Raises `CheckpointError`, also for open diffusion models.
    """
    engine = load_engine(model, device, threads)
    if isinstance(engine, OpenModelEngine):
        raise CheckpointError(
            f"The model {engine.name} is an open diffusion model, and this is for other models."
        )
    return engine


def load_tagged_engine(
    model: str,
    names_of: Callable[[str], Sequence[str]],
    device: str = "auto",
    threads: int = 0,
    quantization: str = "auto",
) -> LocalEngine:
    """Load an open autoregressive model whose prompt is laid out by `TaggedLayout`.

    names_of: returns the names of the prompt's special tokens for a model's name. Raises `CheckpointError`.
    """
    loaded = load_checkpoint(model)
    if not isinstance(loaded, OpenCheckpoint) or not loaded.family.causal:
        raise CheckpointError(
            f"The model {loaded.name} predicts no edits: that takes an open model made for it."
        )
    names = names_of(loaded.name)
    if missing := [name for name in names if name not in loaded.tokenizer.added]:
        raise CheckpointError(f"The model {loaded.name} has no token {missing[0]}, which its prompt needs.")
    executor = executor_for(loaded, device, threads, quantization)
    return LocalEngine(loaded, executor, TaggedLayout(loaded, names))
