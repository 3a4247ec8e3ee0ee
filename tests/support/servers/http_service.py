"""Runs the HTTP service on a real loopback socket in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from mercury_lsp.http.app import application
from mercury_lsp.http.backend import Backend, Task, Update
from mercury_lsp.http.connections import ConnectionLimits
from mercury_lsp.http.process import Server, listen
from mercury_lsp.http.settings import ServiceSettings


class Scripted:
    """A backend that yields ``updates``, and waits before the last update until ``go_on`` is set."""

    model = "scripted"

    def __init__(self, *updates: Update) -> None:
        self.updates = updates or (Update("ab", 2, "stop", 10, 4, 2, 1),)
        self.ready, self.closed = True, False
        self.tasks: list[Task] = []
        self.begun, self.ended, self.go_on = threading.Event(), threading.Event(), threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    async def run(self, task: Task) -> AsyncIterator[Update]:
        self.tasks.append(task)
        try:
            if self.error is not None:
                raise self.error
            for update in self.updates[:-1]:
                yield update
            self.begun.set()
            while not self.go_on.is_set():
                await asyncio.sleep(0.005)
            yield self.updates[-1]
        finally:
            self.ended.set()

    def metrics(self) -> str:
        return ""

    async def close(self) -> None:
        self.closed = True


class Loaded:
    """The part of a loaded backend that a server needs."""

    ready, failure = True, ""


@contextmanager
def served(
    backend: Backend, settings: ServiceSettings | None = None, limits: ConnectionLimits | None = None
) -> Iterator[httpx2.Client]:
    """Serve an application with a backend during the block, and yield a client."""
    with served_by(lambda: backend, settings, limits) as client:
        yield client


@contextmanager
def served_by(
    backend: Callable[[], Backend],
    settings: ServiceSettings | None = None,
    limits: ConnectionLimits | None = None,
) -> Iterator[httpx2.Client]:
    app = application(backend(), settings or ServiceSettings())
    listening = listen("127.0.0.1", 0)
    server = Server(app, Loaded(), listening, limits or ConnectionLimits())
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        host, port = listening.getsockname()
        with httpx2.Client(base_url=f"http://{host}:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def counted(client: httpx2.Client, name: str, **headers: str) -> float:
    """Return the sum of a metric's samples, parsed as Prometheus parses them."""
    text = client.get("/metrics", headers=headers).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = [sample.value for sample in samples if sample.name == name]
    assert found, f"no sample {name}"
    return sum(found)
