"""Sessions: which key's cache is kept, and who may use it now.

One task of a key runs at a time, and a number of all keys. The session that was used longest ago makes room for a new
one. Those who ask have equal shares: the next turn goes to the one with the fewest running tasks, and where the waiting
room is full, a task of the one with the most there makes room. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mercury_lsp.http.backend import Busy

S = TypeVar("S")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    key: str
    asker: str
    turn: asyncio.Future[None]


class Sessions(Generic[S]):
    """Sessions by key, ``most`` of them, of which ``running`` are used at once while ``waiting`` tasks wait at most.

    make: a new one. end: of one that is forgotten.
    """

    def __init__(
        self, make: Callable[[], S], end: Callable[[S], None], most: int, running: int, waiting: int
    ) -> None:
        self._make, self._end = make, end
        self._most, self._running, self._patience = most, min(running, most), waiting
        self._idle: OrderedDict[str, S] = OrderedDict()  # the one used last stands last
        self._used: dict[str, str] = {}  # who asked, by key
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
        """The session of a key, or a new one, once it is free. Raises `Busy` where too many are waiting."""
        if self._free(key):
            self._used[key] = asker
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
        if keep:
            self._idle[key] = session
        else:
            self._end(session)
        self._freed(key)

    async def _wait(self, key: str, asker: str) -> None:
        if len(self._queue) >= self._patience:
            self._make_room(asker)
        waiting = _Waiting(key, asker, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting in self._queue:
                self._queue.remove(waiting)
            elif waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                self._freed(key)  # it had its turn already, and does not need it
            raise

    def _make_room(self, asker: str) -> None:
        """Refuse the newest task of the one who has the most waiting, if that is more than `asker` would have.

        Raises `Busy` where it is not.
        """
        counts = Counter(waiting.asker for waiting in self._queue)
        if not counts or max(counts.values()) <= counts[asker] + 1:
            raise Busy
        last = next(one for one in reversed(self._queue) if counts[one.asker] == max(counts.values()))
        self._queue.remove(last)
        if not last.turn.done():  # else it is cancelled and does not know it yet
            last.turn.set_exception(Busy())

    def _freed(self, key: str) -> None:
        """Give turns to those who wait: to the one with the fewest running tasks, and of equals to the first."""
        self._used.pop(key, None)
        self._queue = [waiting for waiting in self._queue if not waiting.turn.done()]  # others were cancelled
        while possible := [waiting for waiting in self._queue if self._free(waiting.key)]:
            running = Counter(self._used.values())
            chosen = min(possible, key=lambda waiting: running[waiting.asker])
            self._queue.remove(chosen)
            self._used[chosen.key] = chosen.asker
            chosen.turn.set_result(None)

    def _free(self, key: str) -> bool:
        return key not in self._used and len(self._used) < self._running
