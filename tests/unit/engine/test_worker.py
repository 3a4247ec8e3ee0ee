"""The worker: sharing, superseding, cancelling, failing."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from queue import Empty, Queue

import pytest

from mercury_lsp.engine.worker import MAX_RECENT_RESULTS, Cancelled, EngineExited, EngineState, Worker

Cancel = Callable[[], bool]
Tell = Callable[[object], None]
WAIT = 10


@pytest.fixture
def worker() -> Iterator[Worker[str]]:
    made = Worker[str](lambda progress: "engine")
    made.start()
    yield made
    made.stop(0)  # a scripted job may be waiting for its next step


class Blocked:
    """Work that goes on until it is let go or cancelled."""

    def __init__(self) -> None:
        self.runs = 0
        self.started, self.release, self.stopped = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, engine: str, cancelled: Cancel, tell: Tell) -> str:
        self.runs += 1
        self.started.set()
        while not self.release.wait(0.002):
            if cancelled():
                self.stopped.set()
                raise Cancelled
        return engine


def test_a_job_gets_the_engine(worker: Worker[str]) -> None:
    assert worker.submit("a", lambda engine, *_: engine + "!").result(WAIT) == "engine!"


def test_requests_for_one_key_share_a_job(worker: Worker[str]) -> None:
    work = Blocked()
    futures = [worker.submit("a", work) for _ in range(3)]
    work.started.wait(WAIT)
    futures.append(worker.submit("a", work))
    work.release.set()
    assert [future.result(WAIT) for future in futures] == ["engine"] * 4
    assert work.runs == 1


def test_a_newer_key_supersedes_running_and_waiting_jobs(worker: Worker[str]) -> None:
    first, second = Blocked(), Blocked()
    running = worker.submit("a", first)
    first.started.wait(WAIT)
    waiting = worker.submit("b", second)
    newest = worker.submit("c", lambda engine, *_: "new")
    assert newest.result(WAIT) == "new"
    assert running.result(WAIT) is None
    assert waiting.result(WAIT) is None
    assert first.stopped.is_set()
    assert second.runs == 0


def test_cancelling_one_of_two_requests_leaves_the_job(worker: Worker[str]) -> None:
    work = Blocked()
    one, two = worker.submit("a", work), worker.submit("a", work)
    work.started.wait(WAIT)
    assert one.cancel()
    work.release.set()
    assert two.result(WAIT) == "engine"
    with pytest.raises(CancelledError):
        one.result(WAIT)


def test_cancelling_all_requests_stops_the_job(worker: Worker[str]) -> None:
    work = Blocked()
    futures = [worker.submit("a", work) for _ in range(2)]
    work.started.wait(WAIT)
    assert all(future.cancel() for future in futures)
    assert work.stopped.wait(WAIT)
    assert worker.submit("a", lambda engine, *_: "again").result(WAIT) == "again"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_what_would_end_a_thread_costs_one_answer(worker: Worker[str], error: BaseException) -> None:
    def fail(engine: str, cancelled: Cancel, tell: Tell) -> str:
        raise error

    with pytest.raises(EngineExited) as stopped:
        worker.submit("a", fail).result(WAIT)
    assert stopped.value.__cause__ is error
    assert worker.submit("a", quick).result(WAIT) == "engine"
    loading = Worker[str](lambda _: fail("", lambda: False, print))
    loading.start()
    with pytest.raises(EngineExited):
        loading.submit("a", quick).result(WAIT)
    assert loading.state.kind == "failed"


def test_an_engine_that_fails_again_and_again_is_loaded_anew() -> None:
    loads = 0
    states: list[str] = []

    def load(_: object) -> int:
        nonlocal loads
        loads += 1
        return loads

    def fail(*_: object) -> int:
        raise ValueError

    def stop(*_: object) -> int:
        raise Cancelled

    made = Worker[int](load, lambda state: states.append(state.kind))
    made.start()
    engines = []
    # Which engine there is before each job: a failure, a success, or one that was cancelled.
    for step in "ff.ff.ffcf.fff.f.ffffff.fff.":
        if step == ".":
            engines.append(made.submit("good", lambda engine, *_: engine).result(WAIT))
        elif step == "c":
            assert made.submit("cancelled", stop).result(WAIT) is None
        else:
            with pytest.raises(ValueError):  # noqa: PT011
                made.submit("bad", fail).result(WAIT)
    assert engines == [1, 1, 2, 3, 3, 4, 5]
    made.stop(WAIT)
    assert states.count("ready") == loads == 5


def test_an_engine_that_is_not_to_blame_is_loaded_anew_ever_more_rarely() -> None:
    loads: list[int] = []
    begun = 0

    def fail(*_: object) -> int:
        nonlocal begun
        begun += 1
        raise ValueError

    made = Worker[int](lambda _: loads.append(begun) or 0)
    made.start()
    for _ in range(50):
        with pytest.raises(ValueError):  # noqa: PT011
            made.submit("bad", fail).result(WAIT)
    made.stop(WAIT)
    assert loads == [0, 3, 9, 21, 45]


@pytest.mark.parametrize("error", [ValueError("broken"), MemoryError()])
def test_an_exception_costs_one_answer(worker: Worker[str], error: Exception) -> None:
    def fail(engine: str, cancelled: Cancel, tell: Tell) -> str:
        raise error

    with pytest.raises(type(error)):
        worker.submit("a", fail).result(WAIT)
    assert worker.submit("b", lambda engine, *_: engine).result(WAIT) == "engine"


def test_jobs_wait_for_the_engine_and_its_states_are_told() -> None:
    go = threading.Event()
    states: list[EngineState] = []

    def load(progress: Callable[[float], None]) -> str:
        progress(0.5)
        go.wait(WAIT)
        return "late"

    worker = Worker[str](load, states.append)
    worker.start()
    future = worker.submit("a", lambda engine, *_: engine)
    assert not future.done()
    go.set()
    assert future.result(WAIT) == "late"
    worker.stop()
    assert [(state.kind, state.fraction) for state in states] == [
        ("loading", 0.0),
        ("loading", 0.5),
        ("ready", 1.0),
    ]


def test_a_failed_load_fails_waiting_and_later_jobs() -> None:
    go = threading.Event()

    def load(progress: Callable[[float], None]) -> str:
        go.wait(WAIT)
        raise RuntimeError("no weights")

    worker = Worker[str](load)
    worker.start()
    early = worker.submit("a", lambda engine, *_: engine)
    go.set()
    with pytest.raises(RuntimeError, match="no weights"):
        early.result(WAIT)
    with pytest.raises(RuntimeError, match="no weights"):
        worker.submit("b", lambda engine, *_: engine).result(WAIT)
    assert worker.state == EngineState("failed", "no weights")
    worker.stop()


def test_stopping_answers_what_is_left(worker: Worker[str]) -> None:
    work = Blocked()
    future = worker.submit("a", work)
    work.started.wait(WAIT)
    worker.stop(WAIT)
    assert future.result(WAIT) is None
    assert work.stopped.is_set()
    assert worker.submit("b", lambda engine, *_: engine).result(WAIT) is None


class Stepped:
    """Work of passes that are let through one by one; it tells their number."""

    def __init__(self) -> None:
        self.passes = 0
        self.began, self.ended = threading.Event(), threading.Event()
        self._steps, self._told = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, engine: str, cancelled: Cancel, tell: Tell) -> str:
        self.began.set()
        try:
            while self._steps.acquire(timeout=WAIT):
                if cancelled():
                    raise Cancelled
                self.passes += 1
                tell(self.passes)
                self._told.release()
            return "never"
        finally:
            self.ended.set()

    def step(self) -> None:
        """Let a pass through, and wait for it."""
        self.let()
        assert self._told.acquire(timeout=WAIT)

    def let(self) -> None:
        self._steps.release()


def quick(engine: str, *_: object) -> str:
    return engine


def test_what_is_done_ahead_is_remembered(worker: Worker[str]) -> None:
    work = Blocked()
    assert not worker.busy
    worker.prefetch("a", work)
    assert work.started.wait(WAIT)
    assert worker.busy and not worker.recent_results()
    work.release.set()
    while worker.busy:
        work.stopped.wait(0.001)
    assert worker.recent_results() == [("a", "engine")]


def test_the_last_results_are_remembered_the_newest_first(worker: Worker[str]) -> None:
    for key in range(MAX_RECENT_RESULTS + 3):
        worker.submit(key, lambda engine, *_, key=key: key).result(WAIT)
    assert [key for key, _ in worker.recent_results()] == list(range(3, MAX_RECENT_RESULTS + 3))[::-1]
    worker.submit(5, lambda engine, *_: "again").result(WAIT)
    assert worker.recent_results()[0] == (5, "again")
    assert len(worker.recent_results()) == MAX_RECENT_RESULTS
    worker.submit("nothing", lambda engine, *_: None).result(WAIT)
    assert worker.recent_results()[0] == (5, "again")


def test_a_request_joins_what_is_done_ahead_of_it(worker: Worker[str]) -> None:
    running, waiting = Blocked(), Blocked()
    worker.prefetch("a", running)
    assert running.started.wait(WAIT)
    joined = worker.submit("a", running)
    worker.prefetch("b", waiting)
    running.release.set()
    assert joined.result(WAIT) == "engine"
    assert waiting.started.wait(WAIT)
    waiting.release.set()
    assert worker.submit("b", waiting).result(WAIT) == "engine"
    assert (running.runs, waiting.runs, worker.jobs_started) == (1, 1, 2)


def test_a_request_joins_what_waits_to_be_done_ahead(worker: Worker[str]) -> None:
    first, second = Blocked(), Blocked()
    older = worker.submit("a", first)
    assert first.started.wait(WAIT)
    worker.prefetch("b", second)
    newer = worker.submit("b", second)
    assert older.result(WAIT) is None
    assert first.stopped.wait(WAIT)
    second.release.set()
    assert newer.result(WAIT) == "engine"
    assert second.runs == 1


def test_what_is_done_ahead_never_delays_a_request(worker: Worker[str]) -> None:
    requested, ahead = Stepped(), Blocked()
    future = worker.submit("a", requested)
    requested.step()
    worker.prefetch("b", ahead)
    requested.step()
    requested.step()
    assert not ahead.started.is_set() and not future.done()
    assert future.cancel()
    requested.let()
    assert requested.ended.wait(WAIT) and ahead.started.wait(WAIT)
    assert requested.passes == 3


def test_a_request_stops_what_is_done_ahead_within_one_pass(worker: Worker[str]) -> None:
    ahead = Stepped()
    worker.prefetch("a", ahead)
    ahead.step()
    future = worker.submit("b", quick)
    ahead.let()
    assert future.result(WAIT) == "engine"
    assert ahead.passes == 1
    assert worker.recent_results() == [("b", "engine")]
    assert worker.interrupted == ("a", 1)


def test_the_newest_of_what_is_to_be_done_ahead_is_done(worker: Worker[str]) -> None:
    running, never, newest = Stepped(), Blocked(), Blocked()
    worker.prefetch("a", running)
    running.step()
    worker.prefetch("b", never)
    worker.prefetch("c", newest)
    running.let()
    assert newest.started.wait(WAIT)
    assert (running.passes, never.runs) == (1, 0)
    worker.prefetch("c", newest)
    newest.release.set()
    assert worker.submit("c", newest).result(WAIT) == "engine"
    assert newest.runs == 1


def test_a_wish_that_is_fulfilled_already_takes_the_place_of_another(worker: Worker[str]) -> None:
    running, never = Blocked(), Blocked()
    future = worker.submit("a", running)
    assert running.started.wait(WAIT)
    worker.prefetch("b", never)
    worker.prefetch("a", running)
    assert future.cancel()
    running.release.set()
    assert worker.submit("c", quick).result(WAIT) == "engine"
    assert (running.runs, never.runs) == (1, 0)


def test_a_kept_job_goes_on_without_requests_until_there_is_something_newer(worker: Worker[str]) -> None:
    kept = Stepped()
    future = worker.submit("a", kept)
    kept.step()
    worker.keep_running("a")
    worker.keep_running("of no job")
    assert future.cancel()
    kept.step()
    kept.step()
    newer = Blocked()
    worker.prefetch("b", newer)
    kept.let()
    assert newer.started.wait(WAIT)
    assert kept.passes == 3


def test_cancelled_requests_leave_what_is_done_ahead(worker: Worker[str]) -> None:
    ahead = Stepped()
    worker.prefetch("a", ahead)
    ahead.step()
    assert worker.submit("a", ahead).cancel()
    ahead.step()
    ahead.step()


def test_requests_can_be_superseded_without_a_job(worker: Worker[str]) -> None:
    running, waiting = Stepped(), Blocked()
    older = worker.submit("a", running)
    running.step()
    worker.supersede()
    assert older.result(WAIT) is None
    running.let()
    assert running.ended.wait(WAIT)
    assert running.passes == 1
    worker.prefetch("b", waiting)
    worker.supersede()  # what is done ahead goes on
    assert waiting.started.wait(WAIT)
    waiting.release.set()
    assert worker.submit("b", waiting).result(WAIT) == "engine"


def test_the_progress_of_a_running_job_can_be_seen(worker: Worker[str]) -> None:
    work = Stepped()
    assert worker.progress("a") is None
    worker.submit("a", work)
    assert work.began.wait(WAIT)
    assert worker.progress("a") is None
    work.step()
    work.step()
    assert worker.progress("a") == 2
    assert worker.progress("b") is None


def test_an_exception_ahead_is_left_to_who_requests_it(worker: Worker[str]) -> None:
    def fail(engine: str, *_: object) -> str:
        raise ValueError("broken")

    worker.prefetch("a", fail)
    with pytest.raises(ValueError, match="broken"):
        worker.submit("a", fail).result(WAIT)
    assert worker.submit("b", quick).result(WAIT) == "engine"


def test_the_newest_wish_waits_for_the_engine() -> None:
    go = threading.Event()
    worker = Worker[str](lambda progress: str(go.wait(WAIT)))
    worker.start()
    never, newest = Blocked(), Blocked()
    worker.prefetch("a", never)
    worker.prefetch("b", newest)
    assert worker.engine is None
    go.set()
    assert newest.started.wait(WAIT)
    assert worker.engine == "True"
    assert never.runs == 0
    worker.stop(WAIT)
    assert newest.stopped.is_set()
    worker.prefetch("c", never)
    assert not worker.recent_results()


def test_a_pause_is_told_once_after_loading_and_after_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mercury_lsp.engine.worker.PAUSE_SECONDS", 0.01)
    pauses: Queue[int] = Queue()
    worker = Worker[str](lambda _: "engine", on_pause=lambda: pauses.put(1))
    worker.start()
    assert pauses.get(timeout=WAIT)
    assert worker.submit("a", lambda engine, *_: engine).result(WAIT) == "engine"
    assert pauses.get(timeout=WAIT)
    with pytest.raises(Empty):
        pauses.get(timeout=0.1)
    worker.stop()


def test_there_is_no_pause_where_job_follows_job() -> None:
    told: list[int] = []
    busy = Worker[str](
        lambda _: "engine", on_pause=lambda: told.append(1)
    )  # a pause is far longer than this test
    busy.start()
    for key in range(20):
        assert busy.submit(key, lambda engine, *_: engine).result(WAIT) == "engine"
    busy.stop()
    assert told == []


class LocalEngine:
    """Something that can be seen to be gone."""


def test_a_stopped_worker_lets_its_engine_go() -> None:
    engines: list[weakref.ref[LocalEngine]] = []

    def load(_: object) -> LocalEngine:
        engine = LocalEngine()
        engines.append(weakref.ref(engine))
        return engine

    made = Worker[LocalEngine](load)
    made.start()
    assert made.submit("a", lambda engine, *_: isinstance(engine, LocalEngine)).result(WAIT)
    made.stop(WAIT)
    assert made.engine is None and engines[0]() is None
