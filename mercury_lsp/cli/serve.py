"""Starts one model for a team, over HTTP: `mercury-lsp serve`."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mercury_lsp.cli.loading import load_tokens
from mercury_lsp.config import Config
from mercury_lsp.errors import BadUsage, Failure, listening
from mercury_lsp.tokens import TOKENS_VARIABLE

if TYPE_CHECKING:
    from mercury_lsp.http.local import LocalOptions
    from mercury_lsp.http.settings import ServiceSettings

_LIBRARIES = ("fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn")
INSTALL_SERVE = 'pip install "mercury-lsp[serve]"'
INSTALL_CLUSTER = 'pip install "mercury-lsp[cluster]"'


def run(arguments: Namespace) -> int:
    """Serve over HTTP until a signal stops the process; return the exit status."""
    try:
        from mercury_lsp.engine.load import load_checkpoint  # imports numpy
        from mercury_lsp.http import process
        from mercury_lsp.http.app import application
        from mercury_lsp.http.connections import ConnectionLimits
        from mercury_lsp.http.guard import is_loopback
        from mercury_lsp.http.local import LocalBackend, LocalOptions
        from mercury_lsp.http.settings import ServiceSettings
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _LIBRARIES:
            raise
        raise Failure(f"mercury-lsp serve needs {error.name}. Install it with: {INSTALL_SERVE}") from error
    tokens = load_tokens(arguments.token_file)
    if not tokens and not is_loopback(arguments.host):
        raise BadUsage(
            f"Listening on {arguments.host} needs tokens: give --token-file, set {TOKENS_VARIABLE}, "
            "or leave --host at 127.0.0.1."
        )
    # The log has one line for each request, and all warnings and errors.
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("mercury_lsp.access").setLevel(logging.INFO)
    settings = ServiceSettings(
        tokens=tokens,
        aliases=tuple(arguments.alias or ()),
        max_tokens=arguments.max_tokens,
        per_minute=arguments.per_minute,
        timeout_s=arguments.timeout,
    )
    options = LocalOptions(
        device=arguments.device,
        threads=arguments.threads,
        memory_mb=arguments.memory_mb,
        sessions=arguments.max_sessions,
        running=arguments.max_running,
        waiting=arguments.max_waiting,
        wait_s=arguments.timeout / 2,
        max_tokens=arguments.max_tokens,
    )
    model = arguments.model or Config().model
    if arguments.replicas is not None or arguments.address is not None:
        return _serve_replicas(arguments, model, options, settings)
    if arguments.max_replicas is not None:
        raise BadUsage("--max-replicas needs --replicas, the minimum number of replicas.")
    with listening(f"{arguments.host}:{arguments.port}"):
        sock = process.listen(arguments.host, arguments.port)
    backend = LocalBackend(load_checkpoint(model), options)
    limits = ConnectionLimits(body_s=settings.body_s + 5, answer_s=settings.timeout_s + 30)
    process.serve(application(backend, settings), backend, sock, limits)
    return 0


def _serve_replicas(
    arguments: Namespace, model: str, options: LocalOptions, settings: ServiceSettings
) -> int:
    if find_spec("ray") is None:
        raise Failure(f"--replicas and --address need Ray. Install it with: {INSTALL_CLUSTER}")
    from mercury_lsp.cluster import command

    min_replicas = arguments.replicas or 1
    max_replicas = arguments.max_replicas or min_replicas
    if max_replicas < min_replicas:
        raise BadUsage("--max-replicas cannot be less than --replicas.")
    command.serve(
        model,
        options,
        settings,
        replicas=min_replicas,
        max_replicas=max_replicas,
        address=arguments.address or "",
        host=arguments.host,
        port=arguments.port,
    )
    return 0
