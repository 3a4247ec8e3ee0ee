"""Sessions: which key's cache is kept, and who may use it now.

Owns the order of waiting and of forgetting. One task of a key runs at a time, so many of all keys, and the session that
was used longest ago makes room for a new one. For the event loop's thread; knows neither engines nor tasks.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from mercury_lsp.service.backend import Busy

S = TypeVar("S")


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
        self._used: set[str] = set()
        self._queue: list[tuple[str, asyncio.Future[None]]] = []

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

    async def take(self, key: str) -> S:
        """The session of a key, or a new one, once it is free. Raises `Busy` where too many are waiting."""
        if self._free(key):
            self._used.add(key)
        else:
            await self._wait(key)
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

    async def _wait(self, key: str) -> None:
        if len(self._queue) >= self._patience:
            raise Busy
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((key, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if (key, turn) in self._queue:
                self._queue.remove((key, turn))
            else:  # it had its turn already, and does not need it
                self._freed(key)
            raise

    def _freed(self, key: str) -> None:
        """Give their turn to those who have waited longest and can have it: so nobody who comes later is before."""
        self._used.discard(key)
        for waiting in list(self._queue):
            if self._free(waiting[0]):
                self._queue.remove(waiting)
                self._used.add(waiting[0])
                waiting[1].set_result(None)

    def _free(self, key: str) -> bool:
        return key not in self._used and len(self._used) < self._running
