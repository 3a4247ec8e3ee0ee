"""Starts Ray on this machine for one service, or joins a cluster.

Ray sends no usage statistics and shows no dashboard, and a Ray that is started here listens on loopback only.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Nothing here uses Ray's object store, so it is small.
OBJECT_STORE_BYTES = 80_000_000

# Ray reads these variables at import, or when it starts its processes.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# A proxy that is not ready after so many seconds is killed, and Serve does not start. The default of 5 is too short for
# the imports on a busy machine.
_PATIENT = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
# The first variable keeps the node's address on loopback, on every platform. Other users of this machine can reach
# Ray's ports, but need the token.
_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@contextmanager
def ray_here(address: str = "", cpus: int = 0, host: str = "127.0.0.1", port: int = 8000) -> Iterator[None]:
    """Run Ray with Serve's HTTP proxy at ``host`` and ``port`` during the block. Once in a process.

    ``address``: of a cluster to join, which stays after the block; empty to start Ray here and end it with the block.
    ``cpus``: the number that Ray assumes; 0 for all. Raises ``ConnectionError`` if there is no cluster, and
    ``RuntimeError`` for errors of Ray, in the block too.
    """
    os.environ.update(_QUIET | _PATIENT)
    # After the import of Ray the variables have no effect.
    if not address and "ray" not in sys.modules:
        os.environ.update(_ALONE)
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
