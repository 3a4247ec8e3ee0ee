"""The threads of a client work in its context, so that what they log is the client's."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from queue import SimpleQueue

import pytest

from mercury_lsp.context.background import Background
from mercury_lsp.engine.worker import Worker
from mercury_lsp.telemetry.store import History

CLIENT = ContextVar("client", default="none")


class Reader(Background):
    """Asks its thread for the client."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def _has_work(self) -> bool:
        return True

    def _work(self, due: bool) -> None:
        self._tell()
        self._stop = True


def worker(tell: Callable[[], None], _: pytest.MonkeyPatch) -> Callable[[], None]:
    there: Worker[None] = Worker(lambda report: tell())
    there.start()
    return there.stop


def background(tell: Callable[[], None], _: pytest.MonkeyPatch) -> Callable[[], None]:
    there = Reader(tell)
    there.start()
    return there.close


def history(tell: Callable[[], None], patch: pytest.MonkeyPatch) -> Callable[[], None]:
    patch.setattr(History, "_run", lambda _: tell())
    there = History()
    with there._condition:
        there._wake_thread()
    return lambda: there.close(1)


@pytest.mark.parametrize("start", [worker, background, history])
def test_a_thread_has_the_context_in_which_it_was_started(
    start: Callable[..., Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: SimpleQueue[str] = SimpleQueue()
    token = CLIENT.set("ann")
    try:
        stop = start(lambda: seen.put(CLIENT.get()), monkeypatch)
    finally:
        CLIENT.reset(token)
    assert seen.get(timeout=60) == "ann"
    stop()
