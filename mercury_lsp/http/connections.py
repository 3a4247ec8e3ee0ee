"""Limits what a connection may cost before a request is whole: bytes of headers, time, and connections in all.

uvicorn has no limits for slow or half-open requests. This is its own protocol over h11 with a look at all connections
ten times a second. A connection that overstays is closed; where there are too many, the one that has waited longest
without a whole request makes room, so that nobody can keep others out by merely connecting.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_BYTES = 1 << 16
MOST_CHUNKS = 2048  # of one body; each costs the event loop a tenth of a millisecond, however short it is
SPARE_FILES = 64  # descriptors that are kept for all but connections
TELL_SECONDS = 1.0  # between two lines of the log about refused connections

log = logging.getLogger("mercury_lsp.access")

Phase = Literal["head", "body", "answer"]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds that a connection may take for the request line and headers, for the body, and for the answer to be
    computed and read; connections in all and of one address."""

    head_s: float = 10.0
    body_s: float = 30.0
    answer_s: float = 60.0
    most: int = 1024
    most_per_address: int = 512

    def seconds(self, phase: Phase) -> float:
        """How long a phase may last."""
        return {"head": self.head_s, "body": self.body_s, "answer": self.answer_s}[phase]


class Connections:
    """The open connections of one server, for the event loop's thread. ``clock``: seconds."""

    def __init__(self, limits: ConnectionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        # The stage of each, and when that was first seen; in the order of their coming.
        self._since: dict[LimitedProtocol, tuple[tuple[Phase, int], float]] = {}
        self._addresses: Counter[str] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()  # by address and reason, not yet told
        self._told = 0.0

    def __len__(self) -> int:
        return len(self._since)

    def add(self, connection: LimitedProtocol) -> None:
        """Count a new connection, for which another, or itself, may have to go."""
        self._since[connection] = (connection.stage, self._clock())
        self._addresses[connection.address] += 1
        if self._addresses[connection.address] > self._limits.most_per_address:
            self._make_room("too many connections of one address", connection.address)
        elif len(self._since) > self._limits.most:
            self._make_room("too many connections")

    def remove(self, connection: LimitedProtocol) -> None:
        """Forget a connection that has ended."""
        if self._since.pop(connection, None) is not None:
            self._addresses[connection.address] -= 1
            if not self._addresses[connection.address]:
                del self._addresses[connection.address]

    def look(self) -> None:
        """End those that overstay, and tell the log of all that were refused."""
        now = self._clock()
        for connection, (stage, since) in list(self._since.items()):
            current = connection.stage
            if current != stage:
                self._since[connection] = (current, now)
            elif now - since > self._limits.seconds(current[0]):
                self._end(
                    connection, f"its {current[0]} took more than {self._limits.seconds(current[0]):g} s"
                )
        if self._refused and now - self._told >= TELL_SECONDS:
            self._told = now
            for (address, reason), count in self._refused.most_common(10):
                log.warning("ended %d connections of %s: %s", count, address, reason)
            self._refused.clear()

    def end_waiting(self) -> None:
        """End all on which no answer is being computed: the server stops."""
        for connection in list(self._since):
            if connection.stage[0] != "answer":
                connection.abort()

    def refused(self, connection: LimitedProtocol, reason: str) -> None:
        """Note for the log that a connection was ended."""
        self._refused[connection.address, reason] += 1

    def _make_room(self, reason: str, address: str | None = None) -> None:
        """End the one that has waited longest without a whole request, one that never sent any before a client that
        rests between two; where all await answers, the newest."""
        found = [one for one in self._since if address in (None, one.address)]
        waiting = [one for one in found if one.stage[0] != "answer"]
        self._end(min(waiting, key=lambda one: one.answered > 0, default=found[-1]), reason)

    def _end(self, connection: LimitedProtocol, reason: str) -> None:
        self.refused(connection, reason)
        self.remove(connection)
        connection.abort()


class _FewChunks(h11.Connection):
    """A connection whose requests may not have more than `MOST_CHUNKS` chunks that h11 returns one by one."""

    _chunks = 0

    def next_event(self) -> Any:
        """See `h11.Connection`."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            if self._chunks > MOST_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks")
        return event


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol for HTTP/1.1, counted among the connections of `limited`."""

    open: Connections
    answered = 0  # requests of this connection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _FewChunks(h11.SERVER, HEADER_BYTES)

    @property
    def address(self) -> str:
        """The peer's address, without its port."""
        return self.client[0] if self.client else ""

    @property
    def stage(self) -> tuple[Phase, int]:
        """What the connection is busy with, and with which of its requests."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return "head", self.answered
        return ("body" if cycle.more_body else "answer"), self.answered

    def abort(self) -> None:
        """End the connection at once: its peer may not read what would be said."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.open.remove(self)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """What uvicorn does after the last byte of an answer."""
        self.answered += 1
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn does with a request that is not HTTP, or whose head is too long."""
        self.open.refused(self, "a request was not HTTP, or its head was too long")
        super().send_400_response(msg)


def limited(limits: ConnectionLimits) -> tuple[Connections, type[LimitedProtocol]]:
    """The connections of one server, which are none yet, and the protocol that counts them."""
    connections = Connections(limits)
    return connections, type("Limited", (LimitedProtocol,), {"open": connections})


def room_for(most: int) -> int:
    """How many connections the system lets this process have of so many that are wanted; asks it for more first."""
    if sys.platform == "win32":
        return most
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + 4 * SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - SPARE_FILES))


def http_options(protocol: type[LimitedProtocol]) -> dict[str, Any]:
    """uvicorn's options for a server of this protocol: HTTP/1.1 alone, and no line of its own for a bad request."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return {
        "http": protocol,
        "ws": "none",
        "timeout_keep_alive": 5,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "backlog": 1024,
    }
