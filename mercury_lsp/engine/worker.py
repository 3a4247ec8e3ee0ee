"""The worker: one thread that loads the engine and runs the newest job.

Owns the current job and the engine's state. A job is keyed by what it completes: requests for the same key share it,
a newer key supersedes an older one, whose requests resolve to None, and a job all of whose requests were cancelled is
stopped between two passes. Knows neither torch nor what a job does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

E = TypeVar("E")
T = TypeVar("T")
PAUSE = 1.0  # seconds without a job, after which the thread has time for what need not be done at once

log = logging.getLogger(__name__)


class Cancelled(Exception):
    """A job was told to stop, and did. Not an error."""


@dataclass(frozen=True, slots=True)
class State:
    """What the worker's engine is doing. ``fraction`` of the loading done; ``detail``: why loading failed."""

    kind: Literal["idle", "loading", "ready", "failed"]
    detail: str = ""
    fraction: float = 0.0


@dataclass(slots=True, eq=False)
class _Job:
    key: Hashable
    work: Callable[[Any, Callable[[], bool]], Any]
    futures: list[Future[Any]] = field(default_factory=list)
    superseded: bool = False

    def stopped(self) -> bool:
        return self.superseded or all(future.cancelled() for future in self.futures)


class Worker(Generic[E]):
    """Runs jobs on an engine of type E, one at a time, the newest first.

    load: makes the engine in the worker's thread, given a function to report the fraction done to. on_state: called
    from that thread with each new state; on_pause: when there has been no job for `PAUSE`. Both must return soon.
    """

    def __init__(
        self,
        load: Callable[[Callable[[float], None]], E],
        on_state: Callable[[State], None] | None = None,
        on_pause: Callable[[], None] | None = None,
    ) -> None:
        self.state = State("idle")
        self._load, self._on_state, self._on_pause = load, on_state, on_pause
        self._failure: Exception | None = None
        self._running: _Job | None = None
        self._waiting: _Job | None = None
        self._stop = False
        self._changed = threading.Condition()
        # A daemon: a load that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="mercury-engine", daemon=True)

    def start(self) -> None:
        """Start loading. Once."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Supersede all jobs and end the thread; waits up to ``timeout`` seconds for it."""
        with self._changed:
            self._stop = True
            for job in (self._running, self._waiting):
                self._supersede(job)
            self._waiting = None
            self._changed.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def submit(self, key: Hashable, work: Callable[[E, Callable[[], bool]], T]) -> Future[T | None]:
        """Ask for ``work(engine, cancelled)``, which raises `Cancelled` soon after ``cancelled()`` turns true.

        The future resolves to the result, to None when superseded, or to the exception of the work or of the load.
        """
        future: Future[T | None] = Future()
        with self._changed:
            if self._stop:
                future.set_result(None)
            elif self._failure is not None:
                future.set_exception(self._failure)
            else:
                job = self._job_for(key, work)
                job.futures.append(future)
                self._changed.notify_all()
        return future

    def _job_for(self, key: Hashable, work: Callable[[Any, Callable[[], bool]], Any]) -> _Job:
        for job in (self._waiting, self._running):
            if job is not None and job.key == key and not job.stopped():
                return job
        self._supersede(self._running)
        self._supersede(self._waiting)
        self._waiting = _Job(key, work)
        return self._waiting

    def _supersede(self, job: _Job | None) -> None:
        """Answer a job's requests with None now; the thread will notice between two passes."""
        if job is not None:
            job.superseded = True
            _resolve(job, lambda future: future.set_result(None))

    def _run(self) -> None:
        engine = self._loaded()
        if engine is None:
            return
        while (job := self._next()) is not None:
            outcome = self._outcome(engine, job)
            with self._changed:
                self._running = None
                _resolve(job, outcome)

    def _loaded(self) -> E | None:
        self._tell(State("loading"))
        try:
            engine = self._load(lambda fraction: self._tell(State("loading", fraction=fraction)))
        except Exception as error:
            log.debug("loading the engine failed", exc_info=True)
            failure = error
            with self._changed:
                self._failure = failure
                job, self._waiting = self._waiting, None
                if job is not None:
                    _resolve(job, lambda future: future.set_exception(failure))
            self._tell(State("failed", str(failure)))
            return None
        self._tell(State("ready", fraction=1.0))
        return engine

    def _next(self) -> _Job | None:
        """Wait for a job that somebody still wants; None when stopped."""

        def awaited() -> bool:
            return self._stop or self._waiting is not None

        with self._changed:
            while True:
                if self._on_pause is not None and not self._changed.wait_for(awaited, PAUSE):
                    self._on_pause()
                self._changed.wait_for(awaited)
                if self._stop:
                    return None
                job, self._waiting = self._waiting, None
                if job is not None and not job.stopped():
                    self._running = job
                    return job

    def _outcome(self, engine: E, job: _Job) -> Callable[[Future[Any]], None]:
        try:
            result = job.work(engine, job.stopped)
        except Cancelled:
            return lambda future: future.set_result(None)
        except Exception as error:  # MemoryError included: it costs this answer, not the server
            failure = error
            return lambda future: future.set_exception(failure)
        return lambda future: future.set_result(result)

    def _tell(self, state: State) -> None:
        self.state = state
        if self._on_state is not None and not self._stop:
            self._on_state(state)


def _resolve(job: _Job, settle: Callable[[Future[Any]], None]) -> None:
    """Settle the futures of a job that are still open."""
    for future in job.futures:
        if future.set_running_or_notify_cancel():
            settle(future)
    job.futures.clear()
