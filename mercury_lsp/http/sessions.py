"""Keeps sessions by key, and decides which task may use one now.

At most one task of a key runs at a time, and a limited number in total. The least recently used session makes room for
a new one. Clients have fair shares: the next turn goes to the client with the fewest running tasks. If the queue is
full, a task of the client with the most waiting tasks is refused. The queue is only as long as tasks are estimated, by
the duration of recent tasks, to get their turn within the longest wait. For the event loop's thread only.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mercury_lsp.http.backend import Busy

S = TypeVar("S")
# Waits are estimated by the mean duration of recent tasks: of at least, and at most, this many.
MIN_MEASURED_TASKS, MAX_MEASURED_TASKS = 8, 32


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    key: str
    client: str
    turn: asyncio.Future[None]


class Sessions(Generic[S]):
    """Keeps at most ``most`` sessions by key. ``make`` creates one, and ``end`` ends one that is dropped.

    ``running``: sessions in use at a time. ``waiting``: the longest queue. ``wait_s``: the longest wait in seconds.
    """

    def __init__(
        self,
        make: Callable[[], S],
        end: Callable[[S], None],
        most: int,
        running: int,
        waiting: int,
        wait_s: float,
    ) -> None:
        self._make, self._end = make, end
        self._most, self._running, self._most_waiting = most, min(running, most), waiting
        self._wait_s = wait_s
        # The durations of recent tasks in seconds.
        self._task_seconds: deque[float] = deque(maxlen=MAX_MEASURED_TASKS)
        # Sessions not in use, the most recently used last.
        self._idle: OrderedDict[str, S] = OrderedDict()
        # Sessions in use, by key: the client, and the time of the start.
        self._used: dict[str, tuple[str, float]] = {}
        # Waiting tasks in the order of arrival.
        self._queue: list[_Waiting] = []

    @property
    def kept(self) -> int:
        """The number of sessions."""
        return len(self._idle) + len(self._used)

    @property
    def used(self) -> int:
        """The number of sessions in use."""
        return len(self._used)

    @property
    def waiting(self) -> int:
        """The number of waiting tasks."""
        return len(self._queue)

    async def acquire(self, key: str, client: str = "") -> S:
        """Wait for a turn, and return the key's session or a new one.

        Raises `Busy` if the queue is full, or after `wait_s` seconds.
        """
        if self._is_free(key):
            self._mark_used(key, client)
        else:
            await self._wait(key, client)
        session = self._idle.pop(key, None)
        if session is not None:
            return session
        while self.kept > self._most:
            self._end(self._idle.popitem(last=False)[1])
        return self._make()

    def release(self, key: str, session: S, keep: bool = True) -> None:
        """Return a session after use; it is ended if ``keep`` is False."""
        self._task_seconds.append(asyncio.get_running_loop().time() - self._used[key][1])
        if keep:
            self._idle[key] = session
        else:
            self._end(session)
        self._free_key(key)

    async def _wait(self, key: str, client: str) -> None:
        if len(self._queue) >= self._max_queue():
            self._make_room(client)
        waiting = _Waiting(key, client, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        try:
            async with asyncio.timeout(self._wait_s):
                await waiting.turn
        except (asyncio.CancelledError, TimeoutError) as error:
            if waiting in self._queue:
                self._queue.remove(waiting)
            elif waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                # The task already had its turn.
                self._free_key(waiting.key)
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _seconds_each(self) -> float:
        """Return the estimated seconds between two turns, by recent tasks; 0 if too few have run."""
        if len(self._task_seconds) < MIN_MEASURED_TASKS:
            return 0.0
        return sum(self._task_seconds) / len(self._task_seconds) / self._running

    def _max_queue(self) -> int:
        """Return the longest queue now: the tasks whose turn comes in time, but at least as many as run at a time."""
        each = self._seconds_each()
        in_time = int(self._wait_s / each) if each else self._most_waiting
        return min(self._most_waiting, max(self._running, in_time))

    def _busy(self) -> Busy:
        return Busy(min(self._wait_s, len(self._queue) * self._seconds_each()))

    def _make_room(self, client: str) -> None:
        """Refuse the newest task of the client with the most waiting tasks, if that is more than `client` would have.

        Raises `Busy` otherwise.
        """
        counts = Counter(waiting.client for waiting in self._queue)
        if max(counts.values(), default=0) <= counts[client] + 1:
            raise self._busy()
        self._refuse_one()

    def _refuse_one(self) -> None:
        """Refuse the newest task of the client with the most waiting tasks."""
        counts = Counter(waiting.client for waiting in self._queue)
        last = next(task for task in reversed(self._queue) if counts[task.client] == max(counts.values()))
        self._queue.remove(last)
        # A cancelled task gets no error.
        if not last.turn.done():
            last.turn.set_exception(self._busy())

    def _free_key(self, key: str) -> None:
        """Mark a key as free, and give turns: to the client with the fewest running tasks, then by order of arrival.

        Refuses tasks that would wait too long.
        """
        self._used.pop(key, None)
        # Drop cancelled tasks.
        self._queue = [waiting for waiting in self._queue if not waiting.turn.done()]
        while possible := [waiting for waiting in self._queue if self._is_free(waiting.key)]:
            running = Counter(client for client, _ in self._used.values())
            chosen = min(possible, key=lambda waiting: running[waiting.client])
            self._queue.remove(chosen)
            self._mark_used(chosen.key, chosen.client)
            chosen.turn.set_result(None)
        while len(self._queue) > self._max_queue():
            self._refuse_one()

    def _mark_used(self, key: str, client: str) -> None:
        self._used[key] = client, asyncio.get_running_loop().time()

    def _is_free(self, key: str) -> bool:
        return key not in self._used and len(self._used) < self._running
