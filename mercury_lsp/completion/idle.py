"""Runs other work on the worker's engine while no completion needs it; a completion interrupts that work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from mercury_lsp.completion.scheduler import CompletionScheduler

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine

T = TypeVar("T")
# The interval of the checks whether the worker is busy.
POLL_SECONDS = 0.01


async def when_idle(
    scheduler: CompletionScheduler, work: Callable[[Engine, Callable[[], bool]], T]
) -> T | None:
    """Run `work` with the engine and `cancelled`, and return its result; None if no engine is loaded.

    The work starts again after an interruption. Cancelling the coroutine stops it.
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

            # The job returns None, so that the worker does not remember a result among the completions.
            future = asyncio.wrap_future(worker.submit(object(), job))
            try:
                await future
            finally:
                future.cancel()
            if results:
                return results[0]
        await asyncio.sleep(POLL_SECONDS)
