"""Loads the engine of a configuration: local, hosted, or local with a hosted fallback.

The engines are imported only in the functions that load them, which run in the worker's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mercury_lsp.config import Config

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine


def relevant_settings(config: Config) -> tuple[object, ...]:
    """Return the settings that `load` uses, so that a change of any other option does not load the model again."""
    remote: tuple[object, ...] = (config.remote, config.nice)
    if config.remote != "off":
        names = (name for name in Config.__dataclass_fields__ if name.startswith("remote_"))
        remote += tuple(getattr(config, name) for name in names)
    if config.remote == "always":
        return remote
    return *remote, config.model, config.device, config.threads, config.quantization


def load(config: Config, progress: Callable[[float], None] | None = None, drafts: bool = False) -> Engine:
    """Load the engine of a configuration.

    `progress`: called with the loaded fraction. `drafts`: the client draws previews, so hosted Mercury is asked for
    its drafts.

    Raises `CheckpointError`, and `RemoteError` if the settings of a hosted model are wrong and no local model answers.
    With a fallback the local model works in any case, and the error is in `FallbackEngine.remote_status`.
    """
    if config.remote == "off":
        return _local(config, progress)
    # These import an HTTP client.
    from mercury_lsp.completion.fallback import FallbackEngine
    from mercury_lsp.remote.address import RemoteError
    from mercury_lsp.remote.engine import RemoteEngine

    if config.remote == "always":
        return RemoteEngine.of(config, drafts)
    try:
        remote: RemoteEngine | str = RemoteEngine.of(config, drafts)
    except RemoteError as error:
        remote = str(error)
    return FallbackEngine(_local(config, progress), remote)


def _local(config: Config, progress: Callable[[float], None] | None) -> Engine:
    # Imports numpy, and maybe torch.
    from mercury_lsp.engine import load as models

    return models.load_engine(config.model, config.device, config.threads, config.quantization, progress)
