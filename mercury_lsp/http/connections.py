"""Limits the cost of a connection before a request is complete: bytes of headers, time, and number of connections.

uvicorn has no limits for slow or half-open requests. This module extends its protocol over h11 by a check of all
connections ten times a second. A connection that exceeds its time is closed. If there are too many, the one that has
waited longest without a complete request is closed, so that no client can block others by connecting.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEADER_BYTES = 1 << 16
# Each chunk costs the event loop a tenth of a millisecond, however short it is.
MAX_BODY_CHUNKS = 2048
# File descriptors for everything but connections.
RESERVED_DESCRIPTORS = 64
# Refused connections are logged at most this often.
LOG_INTERVAL_SECONDS = 1.0

log = logging.getLogger("mercury_lsp.access")

Phase = Literal["head", "body", "answer"]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of connections.

    ``head_s``, ``body_s``, ``answer_s``: seconds for the request line and headers, for the body, and for computing and
    sending the answer. ``max_connections``, ``max_per_address``: connections in total and of one address.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    answer_s: float = 60.0
    max_connections: int = 1024
    max_per_address: int = 512


class Connections:
    """The open connections of one server; to be used on the event loop's thread only."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        # The stage of each connection and the time when it was first seen, in the order of arrival.
        self._since: dict[LimitedProtocol, tuple[tuple[Phase, int], float]] = {}
        self._addresses: Counter[str] = Counter()
        # Closed connections by address and reason that are not yet logged.
        self._closed: Counter[tuple[str, str]] = Counter()
        self._logged_at = 0.0

    def add(self, connection: LimitedProtocol) -> None:
        """Count a new connection, and close one if there are too many."""
        self._since[connection] = (connection.stage, time.monotonic())
        self._addresses[connection.address] += 1
        if self._addresses[connection.address] > self._limits.max_per_address:
            self._make_room("too many connections of one address", connection.address)
        elif len(self._since) > self._limits.max_connections:
            self._make_room("too many connections")

    def remove(self, connection: LimitedProtocol) -> None:
        """Forget a connection that has ended."""
        if self._since.pop(connection, None) is not None:
            self._addresses[connection.address] -= 1
            if not self._addresses[connection.address]:
                del self._addresses[connection.address]

    def check(self) -> None:
        """Close connections that exceed their time, and log the closed ones."""
        now, own = time.monotonic(), self._limits
        limits = {"head": own.head_s, "body": own.body_s, "answer": own.answer_s}
        for connection, (stage, since) in list(self._since.items()):
            phase, _ = current = connection.stage
            if current != stage:
                self._since[connection] = (current, now)
            elif now - since > limits[phase]:
                self._end(connection, f"its {phase} took more than {limits[phase]:g} s")
        if self._closed and now - self._logged_at >= LOG_INTERVAL_SECONDS:
            self._logged_at = now
            for (address, reason), count in self._closed.most_common(10):
                log.warning("ended %d connections of %s: %s", count, address, reason)
            self._closed.clear()

    def end_waiting(self) -> None:
        """Close all connections without a running request, because the server stops."""
        for connection in list(self._since):
            if connection.stage[0] != "answer":
                connection.abort()

    def note_closed(self, connection: LimitedProtocol, reason: str) -> None:
        """Note a closed connection for the log."""
        self._closed[connection.address, reason] += 1

    def _make_room(self, reason: str, address: str | None = None) -> None:
        """Close the connection that has waited longest without a complete request; if all wait for answers, the newest.

        A connection without any request yet is closed before one that is between two requests.
        """
        candidates = [own for own in self._since if address in (None, own.address)]
        waiting = [own for own in candidates if own.stage[0] != "answer"]
        self._end(min(waiting, key=lambda own: own.answered > 0, default=candidates[-1]), reason)

    def _end(self, connection: LimitedProtocol, reason: str) -> None:
        self.note_closed(connection, reason)
        self.remove(connection)
        connection.abort()


class _FewChunks(h11.Connection):
    """A connection whose requests may have at most `MAX_BODY_CHUNKS` chunks, because h11 returns them one by one."""

    _chunks = 0

    def next_event(self) -> Any:
        """See `h11.Connection`."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            if self._chunks > MAX_BODY_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks")
        return event


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol for HTTP/1.1 that registers its connections in `open_connections`."""

    open_connections: Connections
    # The number of answered requests of this connection.
    answered = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _FewChunks(h11.SERVER, MAX_HEADER_BYTES)

    @property
    def address(self) -> str:
        """The peer's address, without its port."""
        return self.client[0] if self.client else ""

    @property
    def stage(self) -> tuple[Phase, int]:
        """The phase of the connection, and the number of its request."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return "head", self.answered
        return ("body" if cycle.more_body else "answer"), self.answered

    def abort(self) -> None:
        """Close the connection at once, because the peer may not read an answer."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.open_connections.remove(self)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Count the request after the last byte of its answer."""
        self.answered += 1
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, or whose head is too long."""
        self.open_connections.note_closed(self, "a request was not HTTP, or its head was too long")
        super().send_400_response(msg)


def connection_limit(most: int) -> int:
    """Return the number of connections that the system allows, at most ``most``, after raising the process's limit.

    The limit is that of file descriptors; some of them are reserved for other purposes.
    """
    if sys.platform == "win32":
        return most
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + 4 * RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - RESERVED_DESCRIPTORS))


def http_options(connections: Connections) -> dict[str, Any]:
    """Return uvicorn's options for HTTP/1.1 alone, with connections limited and no log line for a bad request."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return {
        "http": type("Limited", (LimitedProtocol,), {"open_connections": connections}),
        "ws": "none",
        "timeout_keep_alive": 5,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "backlog": 1024,
    }
