"""Forwards tasks from the ingress to replicas, and retries a task at another replica if its replica dies.

A task has no side effects, so a retry is safe. Committed text may have been sent already and must not change, so the
next replica continues after that text.
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

MAX_TRIES = 3
# The time between two requests for the model's name.
NAME_INTERVAL_SECONDS = 1.0
RETRY_PAUSE_SECONDS = 0.05
# The seconds that a task without its replica waits for another replica.
MAX_ROOM_WAIT_SECONDS = 10.0
# An estimate, by which the tokens of a failed try are counted.
CHARACTERS_PER_TOKEN = 4

# The replica, its process or its machine has died.
_FAILURES = (RayActorError, TaskCancelledError, DeploymentUnavailableError, ReplicaUnavailableError)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _TaskProgress:
    """The progress of a task over its tries.

    ``committed``: the text of the failed tries, which may have been sent. ``tokens``, ``passes``: the totals of the
    failed tries. ``last``: the last update of the current try.
    """

    task: Task
    committed: str = ""
    tokens: int = 0
    passes: int = 0
    last: Update = field(default_factory=lambda: Update(""))

    def remaining_task(self) -> Task:
        """Return the rest of the task as a task of its own."""
        if not self.committed:
            return self.task
        tokens_left = max(1, self.task.max_tokens - self.tokens)
        return replace(self.task, prefix=self.task.prefix + self.committed, max_tokens=tokens_left)

    def record_failure(self, length: int) -> None:
        """Note a failed try with ``length`` committed characters."""
        self.committed += self.last.text[:length]
        # Only the last update has the number of tokens.
        self.tokens += math.ceil(length / CHARACTERS_PER_TOKEN)
        self.passes += self.last.forward_passes
        self.last = Update("")

    def merge(self, update: Update) -> Update:
        """Turn an update of the current try into an update of the whole task."""
        self.last = update
        return replace(
            update,
            text=self.committed + update.text,
            committed=len(self.committed) + update.committed,
            tokens=self.tokens + update.tokens,
            forward_passes=self.passes + update.forward_passes,
        )


class ForwardingBackend:
    """A `Backend` that forwards to replicas.

    ``handle``: the handle of the replicas' deployment. ``model``: the model's name until a replica answers.
    """

    def __init__(self, handle: Any, model: str) -> None:
        self.model, self.ready = model, False
        self._handle, self._streaming = handle, handle.options(stream=True)
        self._registry = registry = CollectorRegistry()
        self._retries = Counter("mercury_retries", "Tasks that were tried again.", registry=registry)
        self._lost = Counter("mercury_lost", "Tasks given up after a replica failed.", registry=registry)
        self._tasks = Counter(
            "mercury_replica_tasks", "Tasks answered, by replica.", ("replica",), registry=registry
        )
        self._name_poll: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask for the model's name, which a rolling restart may change; `ready` after the first answer."""
        self._name_poll = asyncio.create_task(self._poll_name())

    async def _poll_name(self) -> None:
        while True:
            with suppress(*_FAILURES, BackPressureError, RayTaskError):
                self.model = await self._handle.describe.remote()
                self.ready = True
            await asyncio.sleep(NAME_INTERVAL_SECONDS if self.ready else 0.2)

    async def run(self, task: Task) -> AsyncIterator[Update]:
        """Implement `Backend.run`. Raises `Unavailable` after `MAX_TRIES` failures, and `Busy` if there is no room.

        A task that has lost its replica first waits for room, up to `MAX_ROOM_WAIT_SECONDS`.
        """
        progress, avoided, reason, failures, wait_until = _TaskProgress(task), list[str](), "", 0, 0.0
        while failures < MAX_TRIES:
            updates = self._streaming.run.remote(progress.remaining_task(), tuple(avoided))
            try:
                async for update in updates:
                    merged = progress.merge(update)
                    if merged.finish:
                        self._tasks.labels(merged.replica).inc()
                    yield merged
                    if merged.finish:
                        return
            except (BackPressureError, RayTaskError) as error:
                # A RayTaskError has the exception of the replica as its cause.
                cause = error.cause if isinstance(error, RayTaskError) else Busy()
                if isinstance(cause, Busy):
                    if time.monotonic() > wait_until:
                        # A task that no replica accepted is refused, not lost.
                        self._lost.inc(bool(failures))
                        raise Busy(cause.wait) from None
                    await asyncio.sleep(RETRY_PAUSE_SECONDS)
                    continue
                if not isinstance(cause, Unavailable):
                    raise
                reason = str(cause)
            except _FAILURES:
                reason = f"The model's replicas failed {failures + 1} times."
            except (GeneratorExit, asyncio.CancelledError):
                updates.cancel()
                raise
            if progress.last.replica:
                avoided.append(progress.last.replica)
            progress.record_failure(progress.last.committed)
            failures += 1
            if failures < MAX_TRIES:
                self._retries.inc()
                log.warning("A replica failed; trying another.")
                wait_until = time.monotonic() + MAX_ROOM_WAIT_SECONDS
                # Meanwhile the router may notice the end of the replica.
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
        self._lost.inc()
        raise Unavailable(reason)

    def metrics(self) -> str:
        """Return the counters of the ingress as text; Ray exports the counters of the replicas."""
        return generate_latest(self._registry).decode()

    async def close(self) -> None:
        """Stop asking for the model's name; Ray ends the replicas."""
        if self._name_poll is not None:
            self._name_poll.cancel()
