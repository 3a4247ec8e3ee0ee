"""The worker: one thread that loads the engine and runs the newest job; and the results of its last jobs.

Owns the jobs, what they have committed so far, their last results, and the engine's state. A job is keyed by what it
completes: requests for the same key share it, a newer key supersedes an older one, whose requests resolve to None, and
a job all of whose requests were cancelled is stopped between two passes. What is done ahead waits until nothing is
requested, and stops as soon as something is. A job that fails costs its answer, and several in a row the engine, which
is then loaded anew. Knows neither torch nor what a job does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

FAILURES = 3  # in a row, after which the engine is taken to be broken, and loaded anew
REMEMBERED = 8  # results: what was shown, what it goes on with, and what was typed a few keys ago
PAUSE = 1.0  # seconds without a job, after which the thread has time for what need not be done at once

E = TypeVar("E")
T = TypeVar("T")
Work = Callable[[E, Callable[[], bool], Callable[[object], None]], T]
"""Given the engine, `cancelled` and `tell`: it raises `Cancelled` soon after `cancelled()` turns true, and tells what
it has committed."""

log = logging.getLogger(__name__)


class Stopped(RuntimeError):
    """Something that was to end the thread, as `SystemExit` is, came out of an engine; its cause is that."""


class Unanswered(Exception):
    """A job came to nothing, and not by the engine's fault: nobody answered, or nothing may be asked.

    The message is a clause for who asked.
    """


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
    key: object
    work: Work[Any, Any]
    ahead: bool = False  # it is done though nobody waits for it, unless something newer is to be done
    futures: list[Future[Any]] = field(default_factory=list)
    superseded: bool = False
    progress: object = None

    def requested(self) -> bool:
        return any(not future.cancelled() for future in self.futures)

    def tell(self, progress: object) -> None:
        self.progress = progress


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a job ended. ``sound``: nothing is wrong with the engine, for all that the job tells."""

    result: Any = None
    failure: Exception | None = None
    cancelled: bool = False
    sound: bool = False


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
        self.engine: E | None = None  # once it is loaded; to be looked at, for only jobs may use it
        self.begun = 0  # jobs so far
        self.interrupted: tuple[Any, Any] | None = None  # key and progress of the last job that was stopped
        self._load, self._on_state, self._on_pause = load, on_state, on_pause
        self._failure: Exception | None = None
        self._patience = FAILURES
        self._running: _Job | None = None
        self._waiting: _Job | None = None  # requested
        self._ahead: _Job | None = None  # the newest that is waiting to be done ahead
        self._results: list[tuple[Any, Any]] = []  # the newest first
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
            self._supersede(self._running, self._waiting, self._ahead)
            self._waiting = self._ahead = None
            self._changed.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return any(job is not None for job in (self._running, self._waiting, self._ahead))

    def submit(self, key: object, work: Work[E, T | None]) -> Future[T | None]:
        """Request ``work``. The future resolves to its result, to None when superseded, or to the exception of the
        work or of the load."""
        future: Future[T | None] = Future()
        with self._changed:
            if self._stop:
                future.set_result(None)
            elif self._failure is not None:
                future.set_exception(self._failure)
            else:
                self._requested(key, work).futures.append(future)
                self._changed.notify_all()
        return future

    def anticipate(self, key: object, work: Work[E, object]) -> None:
        """Do ``work`` ahead, as soon as nothing is requested. Its result is remembered.

        It takes the place of what else is to be done ahead, or is being done. Its errors are left to who requests it.
        """
        with self._changed:
            if self._stop or self._failure is not None:
                return
            job = self._current(key)
            if job is None:
                self._ahead = _Job(key, work, ahead=True)
            else:
                job.ahead = True
                if job is not self._ahead:
                    self._ahead = None
            self._changed.notify_all()

    def keep(self, key: object) -> None:
        """Let a job go on when nobody waits for it any more, as if it were done ahead."""
        with self._changed:
            if (job := self._current(key)) is not None:
                job.ahead = True

    def supersede(self) -> None:
        """Resolve all requests to None: what was asked last has been answered without a job."""
        with self._changed:
            self._supersede(*(job for job in (self._running, self._waiting) if job and job.futures))
            self._waiting = None

    def progress(self, key: object) -> Any:
        """What the job of a key told last; None where it is not running, or has told nothing yet."""
        with self._changed:
            job = self._running
            return job.progress if job is not None and job.key == key else None

    def remembered(self) -> list[tuple[Any, Any]]:
        """The last jobs' keys and results, the newest first."""
        with self._changed:
            return list(self._results)

    def _current(self, key: object) -> _Job | None:
        """The job of a key that is still to be finished."""
        for job in (self._waiting, self._running, self._ahead):
            if job is not None and job.key == key and not self._stopped(job):
                return job
        return None

    def _requested(self, key: object, work: Work[Any, Any]) -> _Job:
        """The job that a new request joins."""
        job = self._current(key)
        if job is None or job is self._ahead:
            self._supersede(self._running, self._waiting)
            job = self._waiting = job or _Job(key, work)
            self._ahead = None
        return job

    def _stopped(self, job: _Job) -> bool:
        """Whether a job is to stop; once it is, for good."""
        with self._changed:
            newer = self._ahead is not None and self._ahead is not job
            job.superseded |= not job.requested() and (not job.ahead or newer)
            return job.superseded

    def _supersede(self, *jobs: _Job | None) -> None:
        """Answer jobs' requests with None now; the thread will notice between two passes."""
        for job in jobs:
            if job is not None:
                job.superseded = True
                _resolve(job, _Outcome())

    def _run(self) -> None:
        self._work()
        self.engine = None  # its memory need not wait until all who know this worker have forgotten it

    def _work(self) -> None:
        while (engine := self._loaded()) is not None:
            if not self._serve(engine):
                return
            log.warning("The engine failed %d times in a row; it is loaded anew.", self._patience)
            self._patience *= 2  # it may not be the engine's fault: loading must not become all that is done
            self.engine = engine = None

    def _serve(self, engine: E) -> bool:
        """Run jobs until told to stop, or until so many in a row have failed that the engine is to blame: then True."""
        failed = 0
        while failed < self._patience:
            if (job := self._next()) is None:
                return False
            outcome = self._outcome(engine, job)
            if outcome.failure is not None and not outcome.sound:
                failed += 1
            elif not outcome.cancelled:
                failed, self._patience = 0, FAILURES
            with self._changed:
                self._running = None
                _resolve(job, outcome)
        return True

    def _loaded(self) -> E | None:
        self._tell(State("loading"))
        try:
            engine = self._load(lambda fraction: self._tell(State("loading", fraction=fraction)))
        except BaseException as error:
            log.debug("loading the engine failed", exc_info=True)
            failure = _failure(error)
            with self._changed:
                self._failure = failure
                job, self._waiting, self._ahead = self._waiting, None, None
                if job is not None:
                    _resolve(job, _Outcome(failure=failure))
            self._tell(State("failed", str(failure)))
            return None
        self.engine = engine
        self._tell(State("ready", fraction=1.0))
        return engine

    def _next(self) -> _Job | None:
        """Wait for a job that is still wanted; None when stopped."""

        def awaited() -> bool:
            return self._stop or self._waiting is not None or self._ahead is not None

        with self._changed:
            while True:
                if self._on_pause is not None and not self._changed.wait_for(awaited, PAUSE):
                    self._on_pause()
                self._changed.wait_for(awaited)
                if self._stop:
                    return None
                job = self._waiting or self._ahead
                if self._waiting is not None:
                    self._waiting = None
                else:
                    self._ahead = None
                if job is not None and not self._stopped(job):
                    self._running = job
                    self.begun += 1
                    return job

    def _outcome(self, engine: E, job: _Job) -> _Outcome:
        try:
            result = job.work(engine, lambda: self._stopped(job), job.tell)
        except Cancelled:
            if job.progress is not None:
                self.interrupted = job.key, job.progress
            return _Outcome(cancelled=True)
        except Unanswered as error:
            return _Outcome(failure=error, sound=True)
        except BaseException as error:  # of any kind: it costs this answer, neither the thread nor the server
            log.debug("a job failed", exc_info=True)
            return _Outcome(failure=_failure(error))
        if result is not None:
            self._remember(job.key, result)
        return _Outcome(result)

    def _remember(self, key: object, result: object) -> None:
        with self._changed:
            others = [pair for pair in self._results if pair[0] != key]
            self._results = [(key, result), *others[: REMEMBERED - 1]]

    def _tell(self, state: State) -> None:
        self.state = state
        if self._on_state is not None and not self._stop:
            self._on_state(state)


def _failure(error: BaseException) -> Exception:
    """An error as one that may be raised where it is waited for: there too it must end nothing but that."""
    if isinstance(error, Exception):
        return error
    stopped = Stopped(type(error).__name__)
    stopped.__cause__ = error
    return stopped


def _resolve(job: _Job, outcome: _Outcome) -> None:
    """Settle the futures of a job that are still open."""
    for future in job.futures:
        if future.set_running_or_notify_cancel():
            if outcome.failure is None:
                future.set_result(outcome.result)
            else:
                future.set_exception(outcome.failure)
    job.futures.clear()
