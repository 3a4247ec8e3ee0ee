"""Runs the HTTP service as a process: its socket, the line that reports that it is ready, and its end.

After the first signal new requests get a 503, and running ones have `STOP_SECONDS` to finish; requests with an
incomplete body are not waited for. After the second signal the process ends at once.
"""

from __future__ import annotations

import math
import socket
import sys
import time
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from mercury_lsp.errors import Failure
from mercury_lsp.http.app import ServiceState
from mercury_lsp.http.connections import ConnectionLimits, Connections, connection_limit, http_options

if TYPE_CHECKING:
    from mercury_lsp.http.local import LocalBackend

# How long running requests may take after the first signal.
STOP_SECONDS = 15.0
# How long the last bytes of answers may take after all requests have ended.
LAST_BYTES_SECONDS = 5
# How long a computing thread holds the interpreter: with many threads, the event loop waits for each of them in turn.
SWITCH_INTERVAL_SECONDS = 0.0005


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 selects any free one. Raises ``OSError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def serve(app: FastAPI, backend: LocalBackend, listening: socket.socket, limits: ConnectionLimits) -> None:
    """Serve an application until a signal. Raises `Failure` if the backend cannot be loaded."""
    server = Server(app, backend, listening, limits)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    server.run(sockets=[listening])
    if backend.failure:
        raise Failure(backend.failure)


def announce(host: str, port: int) -> None:
    """Print the line by which users and programs recognize that the service is ready."""
    name = f"[{host}]" if ":" in host else host
    print(f"mercury-lsp serves on http://{name}:{port}", file=sys.stderr, flush=True)


class Server(uvicorn.Server):
    """uvicorn's server of one application, with limits on its connections."""

    def __init__(
        self, app: FastAPI, backend: LocalBackend, listening: socket.socket, limits: ConnectionLimits
    ) -> None:
        most = connection_limit(limits.max_connections)
        max_per_address = min(limits.max_per_address, max(1, most - most // 8))
        self._connections = Connections(
            replace(limits, max_connections=most, max_per_address=max_per_address)
        )
        options = http_options(self._connections)
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=LAST_BYTES_SECONDS, **options))
        self._state: ServiceState = app.state.service
        self._stop_by = math.inf
        self._backend, self._listening = backend, listening
        self._announced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully at the first signal, and at once at the second."""
        if self._state.stopping:
            self.should_exit = self.force_exit = True
        self._state.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Check connections and the state ten times a second. Return whether to end."""
        self._connections.check()
        now = time.monotonic()
        if self._state.stopping:
            self._stop_by = min(self._stop_by, now + STOP_SECONDS)
        if self._backend.ready and not self._announced:
            self._announced = True
            announce(*self._listening.getsockname()[:2])
        if self._backend.failure or (
            self._state.stopping and (not self._state.running or now > self._stop_by)
        ):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close idle connections, and end after the running requests."""
        self._connections.end_waiting()
        await super().shutdown(sockets)
