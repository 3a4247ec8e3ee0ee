"""Ray itself: started on this machine for one service, or joined where a cluster runs.

Owns its settings, and sees to what is promised of privacy: Ray sends no statistics of use, shows no dashboard, and a
Ray that is started here listens on loopback only. Knows nothing of what runs on it.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STORE = 80_000_000  # bytes of Ray's object store, of which nothing here makes use

# Ray reads all of these when it is imported, or when it starts its processes.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# Seconds after which a proxy that is not ready is killed, and Serve does not come up: 5 where nothing is set, which a
# busy machine needs for its imports alone.
_PATIENT = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
# By this name Ray decides on every platform whether a node is part of a cluster; else its address is loopback.
# Who can reach Ray's ports all the same, being on this machine, must know the token to be heard.
_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@contextmanager
def ray_here(address: str = "", cpus: int = 0, host: str = "127.0.0.1", port: int = 8000) -> Iterator[None]:
    """Ray with Serve's HTTP proxy at ``host`` and ``port``, until the end of the block. Once in a process.

    ``address``: of a cluster to join, which goes on behind the block; without one, Ray starts here, and ends with it.
    ``cpus``: how many it may believe to have; 0 counts them. Raises ``ConnectionError`` where there is no cluster, and
    ``RuntimeError`` for what Ray raises, in the block too.
    """
    os.environ.update(_QUIET | _PATIENT)
    if not address and "ray" not in sys.modules:  # else it is too late, and Ray goes by what it has read
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
            object_store_memory=STORE,
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
