"""Runs an engine in one thread: loads it, runs the newest job, and keeps the last results.

Requests for the same key share a job. A newer key supersedes an older one, whose requests resolve to None. A job whose
requests were all cancelled stops between two passes. A prefetch job waits until nothing is requested, and stops as soon
as another key is requested. A job that fails costs only its result; after several failures in a row the engine is
loaded again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from mercury_lsp.engine.system import context_thread

# After this many failures in a row the engine counts as broken.
FAILURES_BEFORE_RELOAD = 3
# Enough for the current suggestion and its continuation, and for those of the last few keystrokes.
MAX_RECENT_RESULTS = 8
# The thread calls `on_pause` after this time without a job.
PAUSE_SECONDS = 1.0

E = TypeVar("E")
T = TypeVar("T")
Work = Callable[[E, Callable[[], bool], Callable[[object], None]], T]
"""The function of a job, called with the engine, `cancelled` and `report_progress`: it raises `Cancelled` soon after
`cancelled()` turns true."""

log = logging.getLogger(__name__)


class EngineExited(RuntimeError):
    """The engine raised an exception that is not an `Exception`, such as `SystemExit`; it is the ``__cause__``."""


class NoResult(Exception):
    """A job has no result, but the engine is not at fault: a hosted model did not answer or must not be asked.

    The message is a clause for the user.
    """


class Cancelled(Exception):
    """A job stopped because it was cancelled or superseded. Not an error."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """The state of the worker's engine. ``fraction``: how much is loaded; ``detail``: why loading failed."""

    kind: Literal["idle", "loading", "ready", "failed"]
    detail: str = ""
    fraction: float = 0.0


@dataclass(slots=True, eq=False)
class _Job:
    key: object
    work: Work[Any, Any]
    # Runs even without a request, unless a newer prefetch job waits.
    is_prefetch: bool = False
    futures: list[Future[Any]] = field(default_factory=list)
    superseded: bool = False
    progress: object = None

    def is_requested(self) -> bool:
        return any(not future.cancelled() for future in self.futures)

    def report_progress(self, progress: object) -> None:
        self.progress = progress


@dataclass(frozen=True, slots=True)
class _JobResult:
    """The outcome of a job; ``engine_ok``: the failure is not the engine's."""

    result: Any = None
    failure: Exception | None = None
    cancelled: bool = False
    engine_ok: bool = False


class Worker(Generic[E]):
    """Runs jobs on an engine of type E, one at a time, the newest first.

    load: creates the engine in the worker's thread; its argument is a function to call with the fraction done.
    on_state: called in that thread with each new state. on_pause: called in it after `PAUSE_SECONDS` without a job.
    Both must return quickly.
    """

    def __init__(
        self,
        load: Callable[[Callable[[float], None]], E],
        on_state: Callable[[EngineState], None] | None = None,
        on_pause: Callable[[], None] | None = None,
    ) -> None:
        self.state = EngineState("idle")
        # Set after loading. Only jobs may compute with the engine; other threads may read its attributes.
        self.engine: E | None = None
        self.jobs_started = 0
        # Key and last progress of the last job that stopped early.
        self.interrupted: tuple[Any, Any] | None = None
        self._load, self._on_state, self._on_pause = load, on_state, on_pause
        self._load_failure: Exception | None = None
        self._failures_allowed = FAILURES_BEFORE_RELOAD
        self._running: _Job | None = None
        # The newest requested job, and the newest prefetch job.
        self._next_requested: _Job | None = None
        self._next_prefetch: _Job | None = None
        # Newest first.
        self._results: list[tuple[Any, Any]] = []
        self._stop = False
        self._changed = threading.Condition()
        self._thread = context_thread(self._run, "mercury-engine")

    def start(self) -> None:
        """Start the thread, which loads the engine. May be called only once."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Supersede all jobs, stop the thread, and wait up to ``timeout`` seconds until it has ended."""
        with self._changed:
            self._stop = True
            self._supersede(self._running, self._next_requested, self._next_prefetch)
            self._next_requested = self._next_prefetch = None
            self._changed.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return any(job is not None for job in (self._running, self._next_requested, self._next_prefetch))

    def submit(self, key: object, work: Work[E, T | None]) -> Future[T | None]:
        """Request ``work`` under a key; a job of the same key is shared, jobs of other keys are superseded.

        The future resolves to the result, to None if the job is superseded, or to the exception of the work or of the
        load.
        """
        future: Future[T | None] = Future()
        with self._changed:
            if self._stop:
                future.set_result(None)
            elif self._load_failure is not None:
                future.set_exception(self._load_failure)
            else:
                job = self._find_job(key)
                if job is None or job is self._next_prefetch:
                    self._supersede(self._running, self._next_requested)
                    job = self._next_requested = job or _Job(key, work)
                    self._next_prefetch = None
                job.futures.append(future)
                self._changed.notify_all()
        return future

    def prefetch(self, key: object, work: Work[E, object]) -> None:
        """Run ``work`` as soon as nothing is requested, and keep its result.

        The job replaces any other prefetch job. A later request for the same key joins the job, and gets its errors.
        """
        with self._changed:
            if self._stop or self._load_failure is not None:
                return
            job = self._find_job(key)
            if job is None:
                self._next_prefetch = _Job(key, work, is_prefetch=True)
            else:
                job.is_prefetch = True
                if job is not self._next_prefetch:
                    self._next_prefetch = None
            self._changed.notify_all()

    def keep_running(self, key: object) -> None:
        """Let the job of a key continue without requests, like a prefetch job."""
        with self._changed:
            if (job := self._find_job(key)) is not None:
                job.is_prefetch = True

    def supersede(self) -> None:
        """Resolve all requests to None; the scheduler calls this when it answers a newer request without a job."""
        with self._changed:
            self._supersede(*(job for job in (self._running, self._next_requested) if job and job.futures))
            self._next_requested = None

    def progress(self, key: object) -> Any:
        """Return the last progress of a key's job; None if the job is not running or has not reported progress."""
        with self._changed:
            job = self._running
            return job.progress if job is not None and job.key == key else None

    def recent_results(self) -> list[tuple[Any, Any]]:
        """Return the keys and results of the last jobs, newest first."""
        with self._changed:
            return list(self._results)

    def _find_job(self, key: object) -> _Job | None:
        for job in (self._next_requested, self._running, self._next_prefetch):
            if job is not None and job.key == key and not self._must_stop(job):
                return job
        return None

    def _must_stop(self, job: _Job) -> bool:
        """Return whether a job must stop; the answer never changes back to False."""
        with self._changed:
            newer = self._next_prefetch is not None and self._next_prefetch is not job
            job.superseded |= not job.is_requested() and (not job.is_prefetch or newer)
            return job.superseded

    def _supersede(self, *jobs: _Job | None) -> None:
        """Resolve the requests of jobs to None at once; a running job stops between two passes."""
        for job in jobs:
            if job is not None:
                job.superseded = True
                _resolve(job, _JobResult())

    def _run(self) -> None:
        while (engine := self._load_engine()) is not None and self._run_jobs(engine):
            log.warning("The engine failed %d times in a row; it is loaded again.", self._failures_allowed)
            # The cause may be outside the engine, so that loading it repeatedly would not help.
            self._failures_allowed *= 2
            self.engine = engine = None
        # Free the memory even if other objects still refer to this worker.
        self.engine = None

    def _run_jobs(self, engine: E) -> bool:
        """Run jobs until the worker stops; return True instead if too many fail in a row."""
        consecutive_failures = 0
        while consecutive_failures < self._failures_allowed:
            if (job := self._wait_for_job()) is None:
                return False
            outcome = self._run_job(engine, job)
            if outcome.failure is not None and not outcome.engine_ok:
                consecutive_failures += 1
            elif not outcome.cancelled:
                consecutive_failures, self._failures_allowed = 0, FAILURES_BEFORE_RELOAD
            with self._changed:
                self._running = None
                _resolve(job, outcome)
        return True

    def _load_engine(self) -> E | None:
        self._set_state(EngineState("loading"))
        try:
            engine = self._load(lambda fraction: self._set_state(EngineState("loading", fraction=fraction)))
        except BaseException as error:
            log.debug("loading the engine failed", exc_info=True)
            failure = _as_exception(error)
            with self._changed:
                self._load_failure = failure
                job, self._next_requested, self._next_prefetch = self._next_requested, None, None
                if job is not None:
                    _resolve(job, _JobResult(failure=failure))
            self._set_state(EngineState("failed", str(failure)))
            return None
        self.engine = engine
        self._set_state(EngineState("ready", fraction=1.0))
        return engine

    def _wait_for_job(self) -> _Job | None:
        """Wait for the next job that must run; return None if the worker stops."""

        def has_work() -> bool:
            return self._stop or self._next_requested is not None or self._next_prefetch is not None

        with self._changed:
            while True:
                if self._on_pause is not None and not self._changed.wait_for(has_work, PAUSE_SECONDS):
                    self._on_pause()
                self._changed.wait_for(has_work)
                if self._stop:
                    return None
                job = self._next_requested or self._next_prefetch
                if self._next_requested is not None:
                    self._next_requested = None
                else:
                    self._next_prefetch = None
                if job is not None and not self._must_stop(job):
                    self._running = job
                    self.jobs_started += 1
                    return job

    def _run_job(self, engine: E, job: _Job) -> _JobResult:
        try:
            result = job.work(engine, lambda: self._must_stop(job), job.report_progress)
        except Cancelled:
            if job.progress is not None:
                self.interrupted = job.key, job.progress
            return _JobResult(cancelled=True)
        except NoResult as error:
            return _JobResult(failure=error, engine_ok=True)
        except BaseException as error:
            # A failure costs this result, but neither the thread nor the server.
            log.debug("a job failed", exc_info=True)
            return _JobResult(failure=_as_exception(error))
        if result is not None:
            with self._changed:
                others = [pair for pair in self._results if pair[0] != job.key]
                self._results = [(job.key, result), *others[: MAX_RECENT_RESULTS - 1]]
        return _JobResult(result)

    def _set_state(self, state: EngineState) -> None:
        self.state = state
        if self._on_state is not None and not self._stop:
            self._on_state(state)


def _as_exception(error: BaseException) -> Exception:
    """Return the error as an `Exception`, which is safe to raise in the thread that waits for the future."""
    if isinstance(error, Exception):
        return error
    stopped = EngineExited(type(error).__name__)
    stopped.__cause__ = error
    return stopped


def _resolve(job: _Job, outcome: _JobResult) -> None:
    for future in job.futures:
        if future.set_running_or_notify_cancel():
            if outcome.failure is None:
                future.set_result(outcome.result)
            else:
                future.set_exception(outcome.failure)
    job.futures.clear()
