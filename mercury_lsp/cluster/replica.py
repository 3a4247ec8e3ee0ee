"""Runs one replica: a backend in its own process, on the machine that Ray chooses."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from ray import serve

from mercury_lsp.http.backend import Backend, Task, Update
from mercury_lsp.http.local import LocalOptions


def local_backend_factory(model: str, options: LocalOptions) -> Callable[[], Backend]:
    """Return a function that makes a backend with the engine in its process, and waits until the model is loaded.

    The function raises ``CheckpointError`` if the replica's machine lacks the model, and ``RuntimeError`` if the model
    cannot run there.
    """

    def make_backend() -> Backend:
        from mercury_lsp.engine.load import load_checkpoint
        from mercury_lsp.http.local import LocalBackend

        backend = LocalBackend(load_checkpoint(model), options)
        while not backend.ready:
            if backend.failure:
                raise RuntimeError(backend.failure)
            time.sleep(0.02)
        return backend

    return make_backend


class Replica:
    """Answers tasks with the backend that ``make_backend`` makes; Ray sends no task before the backend is made."""

    def __init__(self, make_backend: Callable[[], Backend]) -> None:
        self._backend = make_backend()
        self._name = serve.get_replica_context().replica_id.unique_id

    async def run(self, task: Task, avoided: Sequence[str] = ()) -> AsyncIterator[Update]:
        """Implement `Backend.run`. ``avoided``: the replicas that the router should avoid for the task."""
        updates = self._backend.run(task)
        async with aclosing(cast("AsyncGenerator[Update, None]", updates)):
            async for update in updates:
                yield replace(update, replica=self._name)

    def describe(self) -> str:
        """Return the model's name."""
        return self._backend.model

    async def check_health(self) -> None:
        """Raise if the model cannot answer; after several failures Ray replaces the replica."""
        if not self._backend.ready:
            raise RuntimeError("The model cannot answer.")

    async def __del__(self) -> None:
        # Ray awaits this method after the replica's last answer, or after the drain time.
        if hasattr(self, "_backend"):
            await self._backend.close()
