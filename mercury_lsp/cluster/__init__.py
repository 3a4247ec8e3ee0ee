"""Serves several replicas of the model behind one HTTP service, on one machine or many, by Ray Serve.

On a cluster Ray builds the application itself: ``serve run mercury_lsp.cluster:app model=small replicas=2``, or a
configuration file with ``import_path: mercury_lsp.cluster:app``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.serve import Application

_TEXTS = ("model", "device", "version")
_WHOLE = ("threads", "replicas", "max_replicas", "max_running", "max_waiting", "memory_mb", "ingresses")
_PARTS = ("cpus", "gpus", "target")


def app(arguments: Mapping[str, str]) -> Application:
    """The application that `deploy.build` makes, for Ray's own tools.

    arguments: model, device, threads, memory_mb, max_running, max_waiting as in the command; replicas, max_replicas;
    target, ingresses, cpus, gpus as in `deploy.Scale`; a new version replaces all replicas in turn. The clients' tokens
    come from the variable MERCURY_TOKENS of this process. Raises ``ValueError``.
    """
    from mercury_lsp.cluster.deploy import Scale, build
    from mercury_lsp.cluster.replica import in_process
    from mercury_lsp.config import Config
    from mercury_lsp.http.local import LocalOptions
    from mercury_lsp.http.settings import ServiceSettings
    from mercury_lsp.tokens import read_tokens

    wrong = sorted(set(arguments) - {*_TEXTS, *_WHOLE, *_PARTS})
    if wrong:
        known = ", ".join((*_TEXTS, *_WHOLE, *_PARTS))
        raise ValueError(f"There is no argument {wrong[0]}; there are {known}.")
    whole = {name: int(arguments[name]) for name in _WHOLE if name in arguments}
    parts = {name: float(arguments[name]) for name in _PARTS if name in arguments}
    usual, limits = Scale(), LocalOptions()
    options = LocalOptions(
        device=arguments.get("device", "auto"),
        threads=whole.get("threads", 0),
        memory_mb=whole.get("memory_mb", limits.memory_mb),
        running=whole.get("max_running", limits.running),
        waiting=whole.get("max_waiting", limits.waiting),
    )
    scale = Scale(
        replicas=whole.get("replicas", 1),
        most=whole.get("max_replicas", 0),
        ongoing=options.running or usual.ongoing,
        queued=options.waiting,
        target=parts.get("target", usual.target),
        cpus=parts.get("cpus", usual.cpus),
        gpus=parts.get("gpus", usual.gpus),
        ingresses=whole.get("ingresses", 1),
    )
    model = arguments.get("model") or Config().model
    return build(in_process(model, options), model, scale, ServiceSettings(tokens=read_tokens(None)))
