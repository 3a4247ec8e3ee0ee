"""Runs `mercury-lsp serve --replicas N`: divides processors and GPUs between replicas, and serves until a signal."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import replace

from mercury_lsp.cluster.local import ray_here
from mercury_lsp.engine.system import cores
from mercury_lsp.errors import Failure
from mercury_lsp.http.local import MAX_BATCHED_TASKS, LocalOptions
from mercury_lsp.http.settings import ServiceSettings

# Of one replica, as of one process.
MAX_THREADS = 4


def serve(
    model: str,
    options: LocalOptions,
    settings: ServiceSettings,
    *,
    replicas: int,
    most: int,
    address: str,
    host: str,
    port: int,
) -> None:
    """Serve until a signal. On a cluster the application stays, until ``serve shutdown``.

    address: of a Ray cluster, empty for this machine alone. Raises `Failure`.
    """
    if not options.threads and not address:
        options = replace(options, threads=max(1, min(MAX_THREADS, cores() // most)))
    cpus = max(1, options.threads)
    try:
        with ray_here(address, cpus * most, host, port):
            from mercury_lsp.cluster.deploy import Scale, deploy
            from mercury_lsp.cluster.replica import in_process

            scale = Scale(
                replicas=replicas,
                most=most,
                ongoing=options.running or MAX_BATCHED_TASKS,
                queued=options.waiting,
                cpus=cpus,
                gpus=float(options.device in ("auto", "cuda") and _gpus() > 0),
            )
            deploy(in_process(model, options), model, scale, settings)
            name = f"[{host}]" if ":" in host else host
            print(f"mercury-lsp serves on http://{name}:{port}", file=sys.stderr, flush=True)
            ended = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: ended.set())
            ended.wait()
    except (RuntimeError, ConnectionError, OSError) as error:
        raise Failure(f"Ray could not serve: {str(error).strip().splitlines()[0]}") from error


def _gpus() -> float:
    import ray

    return float(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
