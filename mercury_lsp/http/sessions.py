"""Sessions: which key's cache is kept, and who may use it now.

One task of a key runs at a time, and a number of all keys. The session that was used longest ago makes room for a new
one. Those who ask have equal shares: the next turn goes to the one with the fewest running tasks, and where the waiting
room is full, a task of the one with the most there makes room. Nobody waits longer than a bound: the room is only as
large as tasks get their turn within it, by how long the last ones took. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mercury_lsp.http.backend import Busy

S = TypeVar("S")
PACE_FROM, PACE_OF = (
    8,
    32,
)  # tasks by whose mean time a wait is estimated: so many at least, and the last so many


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    key: str
    asker: str
    turn: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Used:
    asker: str
    since: float


class Sessions(Generic[S]):
    """Sessions by key, ``most`` of them, of which ``running`` are used at once while ``waiting`` tasks wait at most,
    none of them longer than ``wait_s`` seconds.

    make: a new one. end: of one that is forgotten.
    """

    def __init__(
        self,
        make: Callable[[], S],
        end: Callable[[S], None],
        most: int,
        running: int,
        waiting: int,
        wait_s: float = 15.0,
    ) -> None:
        self._make, self._end = make, end
        self._most, self._running, self._most_waiting = most, min(running, most), waiting
        self._wait_s = wait_s
        self._took: deque[float] = deque(
            maxlen=PACE_OF
        )  # seconds for which the last tasks had their sessions
        self._idle: OrderedDict[str, S] = OrderedDict()  # the one used last stands last
        self._used: dict[str, _Used] = {}  # by key
        self._queue: list[_Waiting] = []  # the one that came first stands first

    @property
    def kept(self) -> int:
        """How many there are."""
        return len(self._idle) + len(self._used)

    @property
    def used(self) -> int:
        """How many are being used."""
        return len(self._used)

    @property
    def waiting(self) -> int:
        """How many tasks wait for one."""
        return len(self._queue)

    async def take(self, key: str, asker: str = "") -> S:
        """The session of a key, or a new one, once it is free. Raises `Busy` where too many are waiting, and after
        `wait_s` seconds."""
        if self._free(key):
            self._use(key, asker)
        else:
            await self._wait(key, asker)
        session = self._idle.pop(key, None)
        if session is not None:
            return session
        while self.kept > self._most:
            self._end(self._idle.popitem(last=False)[1])
        return self._make()

    def give(self, key: str, session: S, keep: bool = True) -> None:
        """A session is no longer used; one that is not kept is forgotten."""
        self._took.append(asyncio.get_running_loop().time() - self._used[key].since)
        if keep:
            self._idle[key] = session
        else:
            self._end(session)
        self._freed(key)

    async def _wait(self, key: str, asker: str) -> None:
        if len(self._queue) >= self._room():
            self._make_room(asker)
        waiting = _Waiting(key, asker, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turn(waiting)
        except TimeoutError:
            raise self._busy() from None

    async def _turn(self, waiting: _Waiting) -> None:
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting in self._queue:
                self._queue.remove(waiting)
            elif waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                self._freed(waiting.key)  # it had its turn already, and does not need it
            raise

    def _seconds_each(self) -> float:
        """Between two turns, by the last tasks; 0 where too few have run to tell."""
        if len(self._took) < PACE_FROM:
            return 0.0
        return sum(self._took) / len(self._took) / self._running

    def _room(self) -> int:
        """How many may wait: those whose turn comes in time, and always as many as run, for it is an estimate."""
        each = self._seconds_each()
        in_time = int(self._wait_s / each) if each else self._most_waiting
        return min(self._most_waiting, max(self._running, in_time))

    def _busy(self) -> Busy:
        """A refusal, with the seconds that the queue takes."""
        return Busy(min(self._wait_s, len(self._queue) * self._seconds_each()))

    def _make_room(self, asker: str) -> None:
        """Refuse the newest task of the one who has the most waiting, if that is more than `asker` would have.

        Raises `Busy` where it is not.
        """
        counts = Counter(waiting.asker for waiting in self._queue)
        if not counts or max(counts.values()) <= counts[asker] + 1:
            raise self._busy()
        self._refuse_one()

    def _refuse_one(self) -> None:
        """Refuse the newest task of the one who has the most waiting."""
        counts = Counter(waiting.asker for waiting in self._queue)
        last = next(one for one in reversed(self._queue) if counts[one.asker] == max(counts.values()))
        self._queue.remove(last)
        if not last.turn.done():  # else it is cancelled and does not know it yet
            last.turn.set_exception(self._busy())

    def _freed(self, key: str) -> None:
        """Give turns to those who wait: to the one with the fewest running tasks, and of equals to the first. Refuse
        those who turn out to wait too long."""
        self._used.pop(key, None)
        self._queue = [waiting for waiting in self._queue if not waiting.turn.done()]  # others were cancelled
        while possible := [waiting for waiting in self._queue if self._free(waiting.key)]:
            running = Counter(used.asker for used in self._used.values())
            chosen = min(possible, key=lambda waiting: running[waiting.asker])
            self._queue.remove(chosen)
            self._use(chosen.key, chosen.asker)
            chosen.turn.set_result(None)
        while len(self._queue) > self._room():
            self._refuse_one()

    def _use(self, key: str, asker: str) -> None:
        self._used[key] = _Used(asker, asyncio.get_running_loop().time())

    def _free(self, key: str) -> bool:
        return key not in self._used and len(self._used) < self._running
