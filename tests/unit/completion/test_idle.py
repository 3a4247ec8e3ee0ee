"""Other work runs while no completion wants the worker, and begins again after one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from mercury_lsp.completion.idle import when_idle
from mercury_lsp.engine.worker import Cancelled, Worker


class Scheduler:
    """Has a worker, and nothing else."""

    def __init__(self, worker: Worker[Any] | None) -> None:
        self.worker = worker


async def ready() -> Worker[str]:
    worker: Worker[str] = Worker(lambda _: "engine")
    worker.start()
    while worker.engine is None:
        await asyncio.sleep(0.001)
    return worker


async def test_without_an_engine_there_is_no_result() -> None:
    assert await when_idle(Scheduler(None), lambda engine, cancelled: 1) is None  # type: ignore[arg-type]


async def test_the_result_is_not_remembered() -> None:
    worker = await ready()
    assert await when_idle(Scheduler(worker), lambda engine, _: engine + "!") == "engine!"  # type: ignore[arg-type]
    assert worker.recent_results() == []
    worker.stop()


async def test_it_waits_for_completions_and_is_interrupted_by_them() -> None:
    worker = await ready()
    order: list[str] = []
    go, begun = threading.Event(), threading.Event()

    def completion(engine: str, cancelled: Callable[[], bool], tell: object) -> str:
        go.wait(10)
        order.append("completion")
        return "done"

    def other(engine: str, cancelled: Callable[[], bool]) -> str:
        order.append("other")
        begun.set()
        while len(order) == 2:
            if cancelled():
                raise Cancelled
        return "other"

    first = asyncio.wrap_future(worker.submit(1, completion))
    task = asyncio.ensure_future(when_idle(Scheduler(worker), other))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    assert order == []
    go.set()
    assert await first == "done"
    await asyncio.to_thread(begun.wait, 10)
    assert order == ["completion", "other"]
    assert await asyncio.wrap_future(worker.submit(2, completion)) == "done"
    assert await task == "other"
    assert order == ["completion", "other", "completion", "other"]
    worker.stop()


async def test_cancelling_ends_the_work() -> None:
    worker = await ready()
    begun, ended = threading.Event(), threading.Event()

    def other(engine: str, cancelled: Callable[[], bool]) -> str:
        begun.set()
        while not cancelled():
            pass
        ended.set()
        raise Cancelled

    task = asyncio.ensure_future(when_idle(Scheduler(worker), other))  # type: ignore[arg-type]
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    assert await asyncio.to_thread(ended.wait, 10)
    worker.stop()
