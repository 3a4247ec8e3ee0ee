"""The worker: sharing, superseding, cancelling, failing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from queue import Empty, Queue

import pytest

from mercury_lsp.engine.worker import Cancelled, State, Worker

Cancel = Callable[[], bool]
WAIT = 10


@pytest.fixture
def worker() -> Iterator[Worker[str]]:
    made = Worker[str](lambda progress: "engine")
    made.start()
    yield made
    made.stop()


class Blocked:
    """Work that goes on until it is let go or cancelled."""

    def __init__(self) -> None:
        self.runs = 0
        self.started, self.release, self.stopped = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, engine: str, cancelled: Cancel) -> str:
        self.runs += 1
        self.started.set()
        while not self.release.wait(0.002):
            if cancelled():
                self.stopped.set()
                raise Cancelled
        return engine


def test_a_job_gets_the_engine(worker: Worker[str]) -> None:
    assert worker.submit("a", lambda engine, _: engine + "!").result(WAIT) == "engine!"


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
    newest = worker.submit("c", lambda engine, _: "new")
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
    assert worker.submit("a", lambda engine, _: "again").result(WAIT) == "again"


@pytest.mark.parametrize("error", [ValueError("broken"), MemoryError()])
def test_an_exception_costs_one_answer(worker: Worker[str], error: Exception) -> None:
    def fail(engine: str, cancelled: Cancel) -> str:
        raise error

    with pytest.raises(type(error)):
        worker.submit("a", fail).result(WAIT)
    assert worker.submit("b", lambda engine, _: engine).result(WAIT) == "engine"


def test_jobs_wait_for_the_engine_and_its_states_are_told() -> None:
    go = threading.Event()
    states: list[State] = []

    def load(progress: Callable[[float], None]) -> str:
        progress(0.5)
        go.wait(WAIT)
        return "late"

    worker = Worker[str](load, states.append)
    worker.start()
    future = worker.submit("a", lambda engine, _: engine)
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
    early = worker.submit("a", lambda engine, _: engine)
    go.set()
    with pytest.raises(RuntimeError, match="no weights"):
        early.result(WAIT)
    with pytest.raises(RuntimeError, match="no weights"):
        worker.submit("b", lambda engine, _: engine).result(WAIT)
    assert worker.state == State("failed", "no weights")
    worker.stop()


def test_stopping_answers_what_is_left(worker: Worker[str]) -> None:
    work = Blocked()
    future = worker.submit("a", work)
    work.started.wait(WAIT)
    worker.stop(WAIT)
    assert future.result(WAIT) is None
    assert work.stopped.is_set()
    assert worker.submit("b", lambda engine, _: engine).result(WAIT) is None


def test_a_pause_is_told_once_after_loading_and_after_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mercury_lsp.engine.worker.PAUSE", 0.01)
    pauses: Queue[int] = Queue()
    worker = Worker[str](lambda _: "engine", on_pause=lambda: pauses.put(1))
    worker.start()
    assert pauses.get(timeout=WAIT)
    assert worker.submit("a", lambda engine, _: engine).result(WAIT) == "engine"
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
        assert busy.submit(key, lambda engine, _: engine).result(WAIT) == "engine"
    busy.stop()
    assert told == []
