"""Runs `mercury-lsp serve --replicas N`: divides CPU cores and GPUs between replicas, and serves until a signal.

Ray sends no usage statistics. If Ray is started here, it runs no dashboard and listens on loopback only.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mercury_lsp.engine.system import cores
from mercury_lsp.errors import Failure
from mercury_lsp.http.local import MAX_GPU_TASKS, LocalOptions
from mercury_lsp.http.process import announce
from mercury_lsp.http.settings import ServiceSettings

# The most threads of a replica, as of a single process.
MAX_THREADS = 4
# Nothing here uses Ray's object store, so it is small.
OBJECT_STORE_BYTES = 80_000_000

# Ray reads these variables at import, or when it starts its processes.
_RAY_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# A proxy that is not ready after this time is killed, and Serve does not start. The default of 5 is too short for
# the imports on a busy machine.
_PROXY_VARIABLES = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
# The first variable keeps the node's address on loopback, on every platform. Other users of this machine can reach
# Ray's ports, but need the token.
_LOCAL_ONLY_VARIABLES = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


def serve(
    model: str,
    options: LocalOptions,
    settings: ServiceSettings,
    *,
    replicas: int,
    max_replicas: int,
    address: str,
    host: str,
    port: int,
) -> None:
    """Serve until a signal. On a cluster the application stays until ``serve shutdown``.

    address: the address of a Ray cluster; empty for this machine alone. Raises `Failure`.
    """
    if not options.threads and not address:
        options = replace(options, threads=max(1, min(MAX_THREADS, cores() // max_replicas)))
    cpus = max(1, options.threads)
    try:
        with ray_session(address, cpus * max_replicas, host, port):
            import ray

            from mercury_lsp.cluster.deploy import Scale, deploy
            from mercury_lsp.cluster.replica import local_backend_factory

            gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
            scale = Scale(
                replicas=replicas,
                max_replicas=max_replicas,
                max_ongoing=options.running or MAX_GPU_TASKS,
                max_queued=options.waiting,
                cpus=cpus,
                gpus=float(options.device in ("auto", "cuda") and gpus > 0),
            )
            deploy(local_backend_factory(model, options), model, scale, settings)
            announce(host, port)
            stop_requested = threading.Event()
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signal_number, lambda *_: stop_requested.set())
            stop_requested.wait()
    except (RuntimeError, ConnectionError, OSError) as error:
        raise Failure(f"Ray could not serve: {str(error).strip().splitlines()[0]}") from error


@contextmanager
def ray_session(
    address: str = "", cpus: int = 0, host: str = "127.0.0.1", port: int = 8000
) -> Iterator[None]:
    """Run Ray with Serve's HTTP proxy at ``host`` and ``port`` during the block; only once in a process.

    ``address``: the address of a cluster to join, which stays after the block; empty to start Ray here and end it with
    the block. ``cpus``: the number of CPUs that Ray assumes; 0 for all. Raises ``ConnectionError`` if there is no
    cluster, and ``RuntimeError`` for errors of Ray, also for those in the block.
    """
    os.environ.update(_RAY_VARIABLES | _PROXY_VARIABLES)
    # After the import of Ray the variables have no effect.
    if not address and "ray" not in sys.modules:
        os.environ.update(_LOCAL_ONLY_VARIABLES)
    import ray
    from ray import serve
    from ray.exceptions import RayError

    if address:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(
            num_cpus=cpus or None,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
        )
    try:
        serve.start(http_options={"host": host, "port": port}, proxy_location="HeadOnly")
        yield
    except RayError as error:
        raise RuntimeError(str(error)) from error
    finally:
        if not address:
            serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
