"""Runs a service of replicas on this machine, on loopback only, for load tests.

The number of replicas can change, and a replica can be killed.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any, Self

from mercury_lsp.http.local import MAX_GPU_TASKS, LocalOptions


class Service:
    """Replicas of a shipped model or a checkpoint's folder, on the CPU, with ``threads`` threads each.

    ``ongoing``: requests that a replica takes at once.
    """

    def __init__(self, model: str, threads: int = 1, ongoing: int = MAX_GPU_TASKS) -> None:
        self._model, self._options = model, LocalOptions(device="cpu", threads=threads)
        self._ongoing, self._stack = ongoing, ExitStack()
        self.url = ""

    def __enter__(self) -> Self:
        from mercury_lsp.cluster.command import ray_session

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # Enough CPUs for any number of replicas, because the test measures how they share the real ones.
        self._stack.enter_context(ray_session(cpus=64, port=port))
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scale(self, replicas: int) -> None:
        """Replace all replicas by ``replicas`` new ones, with empty caches."""
        from mercury_lsp.cluster.deploy import Scale, deploy
        from mercury_lsp.cluster.replica import local_backend_factory

        scale = Scale(replicas, max_ongoing=self._ongoing, max_queued=1000)
        deploy(local_backend_factory(self._model, self._options), self._model, scale)

    def kill_one(self) -> None:
        """Kill the process of one replica."""
        import ray

        name = self.names()[0]
        ray.kill(ray.get_actor(name["name"], namespace=name["namespace"]))

    def names(self) -> list[dict[str, Any]]:
        """Return Ray's names of the replicas' actors."""
        import ray

        from mercury_lsp.cluster.deploy import NAME, REPLICA

        every = ray.util.list_named_actors(all_namespaces=True)
        return sorted(
            (one for one in every if f"::{NAME}#{REPLICA}#" in one["name"]), key=lambda one: one["name"]
        )
