"""The HTTP service as a process: its socket, the line that tells it is ready, and its end.

At the first signal new requests are answered 503 while those that run end, which they must in `STOP_S`, and at the
second nothing is waited for. Requests whose body is not whole are not waited for either.
"""

from __future__ import annotations

import math
import socket
import sys
import time
from dataclasses import replace
from types import FrameType
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from mercury_lsp.http.app import State
from mercury_lsp.http.connections import ConnectionLimits, http_options, limited, room_for

STOP_S = 15.0  # seconds for the requests that run when the server is to stop
LAST_BYTES_S = 5  # seconds for what is written when nothing runs any more
SWITCH_S = (
    0.0005  # how long a computing thread keeps the interpreter: connections wait for each of many in turn
)


class NotLoaded(Exception):
    """The backend cannot be used; the message is one sentence for the user."""


class Loading(Protocol):
    """What is seen of a backend that loads. ``failure``: why that failed, if it did."""

    failure: str

    @property
    def ready(self) -> bool:
        """Whether it can answer by now."""
        ...


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises ``OSError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def serve(
    app: FastAPI, backend: Loading, listening: socket.socket, limits: ConnectionLimits | None = None
) -> None:
    """Serve an application until a signal ends that. Raises `NotLoaded`."""
    server = Server(app, backend, listening, limits or ConnectionLimits())
    sys.setswitchinterval(SWITCH_S)
    server.run(sockets=[listening])
    if backend.failure:
        raise NotLoaded(backend.failure)


class Server(uvicorn.Server):
    """uvicorn's server of one application, with limits on its connections."""

    def __init__(
        self, app: FastAPI, backend: Loading, listening: socket.socket, limits: ConnectionLimits
    ) -> None:
        most = room_for(limits.most)
        most_per_address = min(limits.most_per_address, max(1, most - most // 8))
        self._connections, protocol = limited(replace(limits, most=most, most_per_address=most_per_address))
        options = http_options(protocol)
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=LAST_BYTES_S, **options))
        self._state: State = app.state.service
        self._stop_by = math.inf
        self._backend, self._listening = backend, listening
        self._announced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop."""
        if self._state.stopping:
            self.should_exit = self.force_exit = True
        self._state.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; whether to end."""
        self._connections.look()
        now = time.monotonic()
        if self._state.stopping:
            self._stop_by = min(self._stop_by, now + STOP_S)
        if self._backend.ready and not self._announced:
            self._announced = True
            host, port, *_ = self._listening.getsockname()
            address = f"[{host}]" if ":" in host else host
            print(f"mercury-lsp serves on http://{address}:{port}", file=sys.stderr, flush=True)
        if self._backend.failure or (
            self._state.stopping and (not self._state.running or now > self._stop_by)
        ):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, after what is being answered."""
        self._connections.end_waiting()
        await super().shutdown(sockets)
