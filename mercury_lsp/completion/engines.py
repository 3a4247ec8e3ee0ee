"""Loads the engine that a configuration asks for: local, hosted, or local with a hosted fallback.

What computes is imported only when it is called, in the worker's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mercury_lsp.config import Config

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine


def wanted(config: Config) -> tuple[object, ...]:
    """All of a configuration that `load` depends on: an option that is not used must not load a model again when it
    changes."""
    remote: tuple[object, ...] = (config.remote, config.nice)
    if config.remote != "off":
        names = (name for name in Config.__dataclass_fields__ if name.startswith("remote_"))
        remote += tuple(getattr(config, name) for name in names)
    if config.remote == "always":
        return remote
    return *remote, config.model, config.device, config.threads, config.quantization


def load(config: Config, progress: Callable[[float], None] | None = None, drafts: bool = False) -> Engine:
    """Load what the settings name. progress: called with the fraction done. drafts: they are drawn, so that hosted
    Mercury is asked for them.

    Raises `CheckpointError`; and `RemoteError` where the settings of a hosted model, which alone is to answer, make no
    sense. One that is only to be asked at times does not keep the local model from working: its settings are then
    what is told of it (see `FallbackEngine`).
    """
    if config.remote == "off":
        return _local(config, progress)
    from mercury_lsp.completion.fallback import FallbackEngine
    from mercury_lsp.remote.address import RemoteError
    from mercury_lsp.remote.engine import RemoteEngine  # these import an HTTP client

    if config.remote == "always":
        return RemoteEngine.of(config, drafts)
    try:
        remote: RemoteEngine | str = RemoteEngine.of(config, drafts)
    except RemoteError as error:
        remote = str(error)
    return FallbackEngine(_local(config, progress), remote)


def _local(config: Config, progress: Callable[[float], None] | None) -> Engine:
    from mercury_lsp.engine import load as models  # imports numpy, and maybe torch

    return models.load_engine(config.model, config.device, config.threads, config.quantization, progress)
