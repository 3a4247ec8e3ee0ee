"""Shares one network between many sessions: each session has a slot, which is its executor.

`ContinuousBatcher` collects the pending calls of all sessions and computes them as one batch. Each session's engine
runs in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from mercury_lsp.engine.api import never_cancelled
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.worker import Cancelled

# How long a batch waits for sessions that are about to call, as a share of the last pass's time.
WAIT_SHARE_OF_LAST_PASS = 0.5
MAX_WAIT_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class SlotRows:
    """The rows of one session in a batch, see `Executor.run`. ``slot``: index of its keys and values."""

    slot: int
    ids: Sequence[int]
    rows: TokenLayout
    past: int


class Batch(Protocol):
    """A network that computes for several sessions at once: ``slots`` sessions of ``rows`` rows each.

    ``bytes_per_slot``: the most bytes that the keys and values of one session take. For the others see `Executor`.
    """

    device: str
    threads: int
    row_cost: float
    slots: int
    rows: int
    bytes_per_slot: int

    def run(self, parts: Sequence[SlotRows]) -> Sequence[Any]:
        """Run one pass; return the hidden rows of each part, see `Executor.run`. No two parts have the same slot."""

    def scores(self, hidden: Sequence[Any]) -> Sequence[NDArray[Any]]:
        """Return the scores of the hidden rows of each session, see `Executor.scores`."""

    def free(self, slot: int) -> None:
        """Discard the keys and values of a released slot."""
        ...


@dataclass(slots=True, eq=False)
class _Call:
    # `SlotRows` or hidden rows.
    work: Any
    size: int
    cancelled: Callable[[], bool]
    future: Future[Any] = field(default_factory=Future)


class ContinuousBatcher:
    """Computes the pending calls of all slots in batches of at most ``max_rows`` rows, in a thread of its own.

    While a batch runs, calls queue up for the next one. Before each batch the thread waits briefly for sessions that
    are between two calls, so that concurrent sessions stay in step. Scores are computed before passes, because a
    session that has its scores soon asks for a pass, so that the next pass includes all sessions. ``passes``: counts
    the forward passes by their number of sessions; ``bytes_per_slot``: see `Batch`.
    """

    def __init__(self, batch: Batch, max_rows: int = 2048) -> None:
        self.device, self.threads = batch.device, batch.threads
        self.bytes_per_slot = batch.bytes_per_slot
        self.passes: Counter[int] = Counter()
        self._batch, self._max_rows = batch, max_rows
        self._free = list(range(batch.slots))
        self._changed = threading.Condition()
        self._pass_queue: deque[_Call] = deque()
        self._score_queue: deque[_Call] = deque()
        self._sessions_in_jobs = 0
        self._last_pass_seconds = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="mercury-batches", daemon=True)
        self._thread.start()

    def acquire(self) -> Slot:
        """Return a free slot with an empty cache. Raises `MemoryError` if all slots are taken."""
        with self._changed:
            if not self._free:
                raise MemoryError("all slots are taken")
            return Slot(self, self._batch, self._free.pop())

    def release(self, slot: int) -> None:
        """Free a slot."""
        with self._changed:
            self._batch.free(slot)
            self._free.append(slot)

    def close(self) -> None:
        """Stop the thread; pending calls raise `Cancelled`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(5)

    @contextmanager
    def job(self) -> Iterator[None]:
        """Count a session as active in the context, so that batches wait for its calls."""
        with self._changed:
            self._sessions_in_jobs += 1
        try:
            yield
        finally:
            with self._changed:
                self._sessions_in_jobs -= 1
                self._changed.notify_all()

    def call(self, work: Any, size: int, cancelled: Callable[[], bool]) -> Any:
        """Compute a call in one of the next batches. Raises the error of its batch, or `Cancelled`."""
        call = _Call(work, size, cancelled)
        with self._changed:
            if self._closed:
                raise Cancelled
            (self._pass_queue if isinstance(work, SlotRows) else self._score_queue).append(call)
            self._changed.notify_all()
        return call.future.result()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending() or self._closed)
                if self._closed:
                    for call in (*self._pass_queue, *self._score_queue):
                        call.future.set_exception(Cancelled())
                    return
                self._changed.wait_for(
                    lambda: self._pending() >= self._sessions_in_jobs or self._closed,
                    min(MAX_WAIT_SECONDS, WAIT_SHARE_OF_LAST_PASS * self._last_pass_seconds),
                )
                calls, for_scores = self._next_calls(), bool(self._score_queue)
            self._compute(calls, for_scores)

    def _pending(self) -> int:
        return len(self._pass_queue) + len(self._score_queue)

    def _next_calls(self) -> list[_Call]:
        """Return the calls of the next batch; the calls stay in their queue until they are done."""
        queue, rows = self._score_queue or self._pass_queue, 0
        calls: list[_Call] = []
        for call in queue:
            if calls and rows + call.size > self._max_rows:
                break
            rows += call.size
            calls.append(call)
        return calls

    def _compute(self, calls: Sequence[_Call], for_scores: bool) -> None:
        live = [call for call in calls if not call.cancelled()]
        results: Sequence[Any] = ()
        failure: BaseException = Cancelled()
        started = time.perf_counter()
        try:
            if live:
                results = (self._batch.scores if for_scores else self._batch.run)(
                    [call.work for call in live]
                )
        except BaseException as error:
            # A failure costs these calls their results, but does not end the thread.
            failure, live = error, []
        with self._changed:
            queue = self._score_queue if for_scores else self._pass_queue
            for call in calls:
                queue.remove(call)
            if live and not for_scores:
                self._last_pass_seconds = time.perf_counter() - started
                self.passes[len(live)] += 1
        for call, result in zip(live, results, strict=False):
            call.future.set_result(result)
        for call in calls:
            if call not in live:
                call.future.set_exception(Cancelled() if call.cancelled() else failure)


class Slot:
    """The `Executor` of one session."""

    def __init__(self, batcher: ContinuousBatcher, batch: Batch, slot: int) -> None:
        self._batcher, self._index, self._rows, self._cancelled = batcher, slot, batch.rows, never_cancelled
        self.device, self.threads = batch.device, batch.threads
        self.row_cost = batch.row_cost

    @contextmanager
    def job(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Run one job in the context: after ``cancelled()`` turns true, the next call raises `Cancelled`."""
        self._cancelled = cancelled
        try:
            with self._batcher.job():
                yield
        finally:
            self._cancelled = never_cancelled

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Any:
        """See `Executor.run`."""
        if past + len(ids) > self._rows:
            raise ValueError(f"{past + len(ids)} rows do not fit into a slot of {self._rows}")
        return self._batcher.call(SlotRows(self._index, ids, rows, past), len(ids), self._cancelled)

    def scores(self, hidden: Any) -> NDArray[Any]:
        """See `Executor.scores`."""
        scores: NDArray[Any] = self._batcher.call(hidden, len(hidden), self._cancelled)
        return scores

    def release(self) -> None:
        """Free the slot for another session. It must not be used afterwards."""
        self._batcher.release(self._index)
