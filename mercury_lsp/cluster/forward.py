"""The backend of the ingress: it hands tasks to replicas, and to another where one dies.

Owns the retries. A task has no effects, so trying again is safe; of a text that is already committed, and may be sent,
nothing may change: the next replica goes on behind it. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from mercury_lsp.http.backend import Busy, Task, Unavailable, Update

TRIES = 3
ASK = 1.0  # seconds between two questions for the model's name
PAUSE = 0.05  # seconds before a task is tried again
ROOM = 10.0  # seconds that a task which has lost its replica waits for another's room
CHARACTERS = 4  # of a token, about

# The replica, its process or its machine is gone.
_FAILURES = (RayActorError, TaskCancelledError, DeploymentUnavailableError, ReplicaUnavailableError)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Progress:
    """What a task has come to over its tries. ``committed`` is the text that may have been sent."""

    task: Task
    committed: str = ""
    tokens: int = 0  # of the tries that failed
    passes: int = 0
    last: Update = field(default_factory=lambda: Update(""))  # of the present try

    def rest(self) -> Task:
        """What is left of the task."""
        if not self.committed:
            return self.task
        room = max(1, self.task.max_tokens - self.tokens)
        return replace(self.task, prefix=self.task.prefix + self.committed, max_tokens=room)

    def failed(self, length: int) -> None:
        """A try has ended early; of its text so many characters were committed."""
        self.committed += self.last.text[:length]
        self.tokens += math.ceil(length / CHARACTERS)  # only its last update would have told them
        self.passes += self.last.forward_passes
        self.last = Update("")

    def told(self, update: Update) -> Update:
        """An update of the present try as one of the whole task."""
        self.last = update
        return replace(
            update,
            text=self.committed + update.text,
            committed=len(self.committed) + update.committed,
            tokens=self.tokens + update.tokens,
            forward_passes=self.passes + update.forward_passes,
        )


class Forward:
    """A `Backend` of replicas. ``handle``: Ray Serve's to their deployment; ``model``: its name until they tell."""

    def __init__(self, handle: Any, model: str, tries: int = TRIES) -> None:
        self.model, self.ready = model, False
        self._handle, self._streaming, self._tries = handle, handle.options(stream=True), tries
        self._registry = own = CollectorRegistry()
        self._retries = Counter("mercury_retries", "Tasks that were tried again.", registry=own)
        self._lost = Counter("mercury_lost", "Tasks given up after a replica failed.", registry=own)
        self._tasks = Counter(
            "mercury_replica_tasks", "Tasks answered, by replica.", ("replica",), registry=own
        )
        self._asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask the replicas what they serve, which a rolling restart may change; until they answer this is not
        ready."""
        self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        while True:
            with suppress(*_FAILURES, BackPressureError, RayTaskError):  # it is asked again in a moment
                self.model = await self._handle.describe.remote()
                self.ready = True
            await asyncio.sleep(ASK if self.ready else 0.2)

    async def run(self, task: Task) -> AsyncIterator[Update]:
        """As `Backend.run`: after ``tries`` replicas have failed, `Unavailable`; where there is no room, `Busy`, but a
        task that was let in and lost its replica waits for it first, up to `ROOM` seconds."""
        progress, avoided, why, failures, patience = _Progress(task), list[str](), "", 0, 0.0
        while failures < self._tries:
            updates = self._streaming.run.remote(progress.rest(), tuple(avoided))
            try:
                async for update in updates:
                    told = progress.told(update)
                    if told.finish:
                        self._tasks.labels(told.replica).inc()
                    yield told
                    if told.finish:
                        return
            except (BackPressureError, RayTaskError) as error:  # the latter is what a replica raised
                cause = error.cause if isinstance(error, RayTaskError) else Busy()
                if isinstance(cause, Busy):
                    if time.monotonic() > patience:
                        self._lost.inc(bool(failures))  # whoever was never let in is not lost, only refused
                        raise Busy(cause.wait) from None
                    await asyncio.sleep(PAUSE)
                    continue
                if not isinstance(cause, Unavailable):
                    raise
                why = str(cause)
            except _FAILURES:
                why = f"The model's replicas failed {failures + 1} times."
            except (GeneratorExit, asyncio.CancelledError):
                updates.cancel()  # of one that has ended by itself, it would raise that again
                raise
            if progress.last.replica:
                avoided.append(progress.last.replica)
            progress.failed(progress.last.committed)
            failures += 1
            if failures < self._tries:
                self._retries.inc()
                log.warning("A replica failed; trying another.")
                patience = time.monotonic() + ROOM
                await asyncio.sleep(PAUSE)  # in which the router may hear of a replica's end
        self._lost.inc()
        raise Unavailable(why)

    def metrics(self) -> str:
        """Its own counters. Ray exports those of the replicas."""
        return generate_latest(self._registry).decode()

    async def close(self) -> None:
        """The replicas are Ray's to end."""
        if self._asking is not None:
            self._asking.cancel()
