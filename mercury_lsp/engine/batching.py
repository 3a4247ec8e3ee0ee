"""Many sessions on one network: each has a slot, an executor of its own, and what they ask is computed together or in
turn.

Owns the order in which that is done. `RoundRobin` is for executors that compute one sequence, and share its weights;
`ContinuousBatcher` collects the calls that are pending and has them computed as one batch. A session's engine runs in
a thread of its own and sees nothing of it. Knows neither torch nor tokens.
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

from mercury_lsp.engine.api import never
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.worker import Cancelled

PATIENCE = 0.5  # of the last batch's time, for which one waits for others that are about to ask
LONGEST_WAIT = 0.02  # seconds


class SlotPool(Protocol):
    """Executors on one network. ``passes``: how many forward passes have had so many of them in them; ``bytes_each``:
    what the keys and values of one may take."""

    device: str
    threads: int
    passes: Counter[int]
    bytes_each: int

    def acquire(self) -> Slot:
        """A free slot, with nothing in its cache. Raises `MemoryError` where there is no room."""
        ...

    def close(self) -> None:
        """End; calls that wait get `Cancelled`."""
        ...


class Slot(Executor, Protocol):
    """An executor that others sit beside."""

    def job(self, cancelled: Callable[[], bool]) -> Any:
        """A context in which passes are asked for, until ``cancelled()``: the next one then raises `Cancelled`."""
        ...

    def leave(self) -> None:
        """Give its room to another. It may not be used any more."""
        ...


class RoundRobin:
    """Slots whose passes alternate, the one that has waited longest first."""

    def __init__(self, executor: Callable[[], Executor], bytes_each: int) -> None:
        """executor: makes one; all that it makes share the weights."""
        self._make, self._first = executor, executor()
        self._spare = [self._first]
        self.device, self.threads, self.bytes_each = self._first.device, self._first.threads, bytes_each
        self.passes: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()  # the first has its turn
        self._closed = False

    def acquire(self) -> Slot:
        """See `SlotPool.acquire`."""
        with self._lock:
            executor = self._spare.pop() if self._spare else None
        return _RoundRobinSlot(self, executor or self._make())

    def close(self) -> None:
        """See `SlotPool.close`."""
        self._closed = True

    @contextmanager
    def turn(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Wait for one's turn, and have it. Raises `Cancelled`."""
        mine = threading.Event()
        with self._lock:
            self._waiting.append(mine)
            if len(self._waiting) == 1:
                mine.set()
        mine.wait()
        try:
            if self._closed or cancelled():
                raise Cancelled
            yield
        finally:
            with self._lock:
                self._waiting.popleft()
                if self._waiting:
                    self._waiting[0].set()


class _RoundRobinSlot:
    def __init__(self, slots: RoundRobin, executor: Executor) -> None:
        self._slots, self._executor, self._cancelled = slots, executor, never
        self.device, self.threads = executor.device, executor.threads
        self.block, self.canvas_threshold = executor.block, executor.canvas_threshold

    @contextmanager
    def job(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        self._cancelled = cancelled
        try:
            yield
        finally:
            self._cancelled = never

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Any:
        with self._slots.turn(self._cancelled):
            self._slots.passes[1] += 1
            return self._executor.run(ids, rows, past)

    def scores(self, hidden: Any) -> NDArray[Any]:
        with self._slots.turn(self._cancelled):
            return self._executor.scores(hidden)

    def leave(self) -> None:
        """Its memory goes with it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One session's rows in a batch: see `Executor.run`. ``slot``: where its keys and values are."""

    slot: int
    ids: Sequence[int]
    rows: TokenLayout
    past: int


class Batch(Protocol):
    """A network that computes for several sessions at once. ``slots``: so many have room, for ``rows`` rows each."""

    device: str
    threads: int
    block: int
    canvas_threshold: float
    slots: int
    rows: int
    bytes_each: int

    def run(self, parts: Sequence[Part]) -> Sequence[Any]:
        """The hidden rows of each part, as `Executor.run` gives them. No two parts have the same slot."""
        ...

    def scores(self, hidden: Sequence[Any]) -> Sequence[NDArray[Any]]:
        """The scores of each, as `Executor.scores` gives them."""
        ...


@dataclass(slots=True, eq=False)
class _Call:
    work: Any  # a part, or hidden rows
    size: int
    cancelled: Callable[[], bool]
    future: Future[Any] = field(default_factory=Future)


class ContinuousBatcher:
    """Slots whose pending calls are computed as one batch of at most ``most_rows`` rows, in a thread of its own.

    While a batch runs, calls collect for the next. One whose session is between two calls is waited for a moment, so
    that sessions that decode at the same time keep step. Scores come before passes: who waits for scores will soon ask
    for a pass, and then the next one has everybody.
    """

    def __init__(self, batch: Batch, most_rows: int = 2048) -> None:
        self.device, self.threads = batch.device, batch.threads
        self.bytes_each = batch.bytes_each
        self.passes: Counter[int] = Counter()
        self._batch, self._most = batch, most_rows
        self._free = list(range(batch.slots))
        self._changed = threading.Condition()
        self._passing: deque[_Call] = deque()
        self._scoring: deque[_Call] = deque()
        self._decoding = 0  # sessions that are in a job
        self._took = 0.0  # seconds of the last pass
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="mercury-batches", daemon=True)
        self._thread.start()

    def acquire(self) -> Slot:
        """See `SlotPool.acquire`."""
        with self._changed:
            if not self._free:
                raise MemoryError("all slots are taken")
            return _BatchSlot(self, self._batch, self._free.pop())

    def leave(self, slot: int) -> None:
        """A slot is free again."""
        with self._changed:
            self._free.append(slot)

    def close(self) -> None:
        """See `SlotPool.close`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(5)

    @contextmanager
    def job(self) -> Iterator[None]:
        """A session is about to ask for passes, again and again."""
        with self._changed:
            self._decoding += 1
        try:
            yield
        finally:
            with self._changed:
                self._decoding -= 1
                self._changed.notify_all()

    def ask(self, work: Any, size: int, cancelled: Callable[[], bool]) -> Any:
        """Have a call computed in the next batch. Raises what that raises, or `Cancelled`."""
        call = _Call(work, size, cancelled)
        with self._changed:
            if self._closed:
                raise Cancelled
            (self._passing if isinstance(work, Part) else self._scoring).append(call)
            self._changed.notify_all()
        return call.future.result()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending() or self._closed)
                if self._closed:
                    for call in (*self._passing, *self._scoring):
                        call.future.set_exception(Cancelled())
                    return
                self._changed.wait_for(
                    lambda: self._pending() >= self._decoding or self._closed,
                    min(LONGEST_WAIT, PATIENCE * self._took),
                )
                calls, scores = self._next(), bool(self._scoring)
            self._compute(calls, scores)

    def _pending(self) -> int:
        return len(self._passing) + len(self._scoring)

    def _next(self) -> list[_Call]:
        """The calls of the next batch, which stay in their queue until they are done."""
        queue, rows = self._scoring or self._passing, 0
        calls: list[_Call] = []
        for call in queue:
            if calls and rows + call.size > self._most:
                break
            rows += call.size
            calls.append(call)
        return calls

    def _compute(self, calls: Sequence[_Call], scores: bool) -> None:
        left = [call for call in calls if not call.cancelled()]
        found: Sequence[Any] = ()
        failure: BaseException = Cancelled()
        began = time.perf_counter()
        try:
            if left:
                found = (self._batch.scores if scores else self._batch.run)([call.work for call in left])
        except BaseException as error:  # costs these their answers, and not the thread
            failure, left = error, []
        with self._changed:
            queue = self._scoring if scores else self._passing
            for call in calls:
                queue.remove(call)
            if left and not scores:
                self._took = time.perf_counter() - began
                self.passes[len(left)] += 1
        for call, result in zip(left, found, strict=False):
            call.future.set_result(result)
        for call in calls:
            if call not in left:
                call.future.set_exception(Cancelled() if call.cancelled() else failure)


class _BatchSlot:
    def __init__(self, slots: ContinuousBatcher, batch: Batch, slot: int) -> None:
        self._slots, self._index, self._rows, self._cancelled = slots, slot, batch.rows, never
        self.device, self.threads = batch.device, batch.threads
        self.block, self.canvas_threshold = batch.block, batch.canvas_threshold

    @contextmanager
    def job(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        self._cancelled = cancelled
        try:
            with self._slots.job():
                yield
        finally:
            self._cancelled = never

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Any:
        if past + len(ids) > self._rows:
            raise ValueError(f"{past + len(ids)} rows do not fit into a slot of {self._rows}")
        return self._slots.ask(Part(self._index, ids, rows, past), len(ids), self._cancelled)

    def scores(self, hidden: Any) -> NDArray[Any]:
        scores: NDArray[Any] = self._slots.ask(hidden, len(hidden), self._cancelled)
        return scores

    def leave(self) -> None:
        self._slots.leave(self._index)
