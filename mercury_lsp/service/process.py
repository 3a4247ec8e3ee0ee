"""The HTTP service as a process: its socket, the line that tells it is ready, and its end.

Owns how it stops: at the first signal new requests are answered 503 while those that run end, and at the second
nothing is waited for. Knows no routes.
"""

from __future__ import annotations

import socket
import sys
from types import FrameType
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from mercury_lsp.service.app import State

LAST_BYTES_S = 5  # seconds for what is written when nothing runs any more


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
    return socket.create_server((host, port), family=family, backlog=256)


def serve(app: FastAPI, backend: Loading, listening: socket.socket) -> None:
    """Serve an application until a signal ends that. Raises `NotLoaded`."""
    server = _Server(app, backend, listening)
    server.run(sockets=[listening])
    if backend.failure:
        raise NotLoaded(backend.failure)


class _Server(uvicorn.Server):
    def __init__(self, app: FastAPI, backend: Loading, listening: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=LAST_BYTES_S,
            )
        )
        self._state: State = app.state.service
        self._backend, self._listening = backend, listening
        self._announced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop."""
        if self._state.stopping:
            self.should_exit = self.force_exit = True
        self._state.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; whether to end."""
        if self._backend.ready and not self._announced:
            self._announced = True
            host, port, *_ = self._listening.getsockname()
            address = f"[{host}]" if ":" in host else host
            print(f"mercury-lsp serves on http://{address}:{port}", file=sys.stderr, flush=True)
        if self._backend.failure or (self._state.stopping and not self._state.running):
            self.should_exit = True
        return await super().on_tick(counter)
