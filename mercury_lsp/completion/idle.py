"""Runs other work on the worker while no completion wants it; a completion that comes interrupts it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from mercury_lsp.completion.scheduler import CompletionScheduler

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine

T = TypeVar("T")
# Between two looks whether the worker has anything to do.
POLL_SECONDS = 0.01


async def when_idle(
    scheduler: CompletionScheduler, work: Callable[[Engine, Callable[[], bool]], T]
) -> T | None:
    """The result of `work`, given the engine and `cancelled`; None while there is no engine.

    It begins again after an interruption. Cancelling this ends it.
    """
    while True:
        worker = scheduler.worker
        if worker is None or worker.engine is None:
            return None
        if not worker.busy:
            results: list[T] = []

            def job(
                engine: Engine, cancelled: Callable[[], bool], _: object, results: list[T] = results
            ) -> None:
                results.append(work(engine, cancelled))

            # A job without a result is not remembered among the completions.
            future = asyncio.wrap_future(worker.submit(object(), job))
            try:
                await future
            finally:
                future.cancel()
            if results:
                return results[0]
        await asyncio.sleep(POLL_SECONDS)
