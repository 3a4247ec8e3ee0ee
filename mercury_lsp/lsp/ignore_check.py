"""Checks which open documents may be completed and used, and shows the progress of reading the workspace.

Rules of ignoring are read in threads. Until a document is known not to be ignored, nothing of it is sent to a hosted
model or used for another document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any

from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.lsp import convert
from mercury_lsp.lsp.client import Progress
from mercury_lsp.session.session import Session

INDEX_BYTES = 32 << 20
# For a request, until it is known whether its document is ignored.
ACCESS_WAIT_SECONDS = 2.0
# Documents that are looked at together.
MAX_THREADS = 4

Guard = Callable[[str], AbstractContextManager[None]]
"""The boundary of unexpected errors, told what is being done."""


class IgnoreCheck:
    """Of one client's documents. `spawn` runs something beside the messages; `progress` makes a display."""

    def __init__(
        self,
        session: Session,
        scheduler: CompletionScheduler,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        progress: Callable[[], Progress],
        guard: Guard,
    ) -> None:
        self._session, self._scheduler = session, scheduler
        self._spawn, self._progress, self._guard = spawn, progress, guard
        self._pending: dict[str, asyncio.Task[None]] = {}
        self._reading: Progress | None = None
        # Threads of its own: on a disk that hangs, they must not be missing for anything else.
        self._threads = ThreadPoolExecutor(MAX_THREADS, "mercury-access")

    def place(self, uris: Sequence[str]) -> None:
        """Take the workspace's folders and its memory, and look again at the documents if these are others."""
        session, config = self._session, self._session.config
        # A model on this machine has a memory of all files; what is sent to a hosted model has nothing of them.
        local = config.remote != "always"
        used = config.enabled and local and config.project_files != "none"
        folders = [convert.path(uri) for uri in uris if convert.is_local(uri)]
        if session.workspace.configure(folders, INDEX_BYTES if used else 0, config.project_files == "all"):
            self.look()

    def read(self) -> None:
        """Begin to read the workspace, in a thread."""
        loop, workspace = asyncio.get_running_loop(), self._session.workspace

        def later(call: Callable[..., object], *arguments: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: the client is gone
                loop.call_soon_threadsafe(call, *arguments)

        workspace.busy = lambda: self._scheduler.computing
        workspace.show = lambda fraction: later(self._show, fraction)
        workspace.rules = lambda: later(self.look)
        workspace.guard = self._guard
        workspace.start()

    def opened(self, uri: str) -> None:
        """A document that has a file was opened."""
        self._look(uri, opened=True)

    def look(self) -> None:
        """The rules may be others: look at all documents again."""
        for uri in self._session.with_files:
            self._look(uri)

    def pending(self, uri: str) -> bool:
        """Whether it is being looked whether a document is ignored."""
        return uri in self._pending

    async def committed(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what rules say of its document, once that is known; if it takes too long, it is ignored."""
        uri = snapshot.document.uri
        with suppress(TimeoutError):
            async with asyncio.timeout(ACCESS_WAIT_SECONDS):
                while (task := self._pending.get(uri)) is not None:
                    await asyncio.wait([task])
        known = self._session.snapshot(uri)
        if known is None:
            return replace(snapshot, ignored=True)
        return replace(snapshot, ignored=known.ignored, private=known.private, indentation=known.indentation)

    def _look(self, uri: str, opened: bool = False) -> None:
        self._session.admit(uri, None)
        task = self._pending[uri] = self._spawn(self._admit(uri, opened))
        task.add_done_callback(partial(self._done, uri))

    async def _admit(self, uri: str, opened: bool) -> None:
        session = self._session
        with self._guard("looking whether a file is ignored"):
            file = session.file(uri)
            examine = partial(copy_context().run, session.workspace.examine, file)
            access = await asyncio.get_running_loop().run_in_executor(self._threads, examine)
            if self._pending.get(uri) is asyncio.current_task() and file == session.file(uri):
                session.admit(uri, replace(access, inside=access.inside and convert.is_local(uri)))
                if opened and (snapshot := session.snapshot(uri)):
                    self._scheduler.opened(snapshot)

    def _done(self, uri: str, task: asyncio.Task[None]) -> None:
        if self._pending.get(uri) is task:
            del self._pending[uri]

    def _show(self, fraction: float | None) -> None:
        """Show how much of the workspace is read; None at the end."""
        if fraction is None and self._reading is not None:
            self._reading.end()
            self._reading = None
        elif fraction is not None:
            if self._reading is None:
                self._reading = self._progress()
                self._spawn(self._reading.begin("Reading the workspace"))
            self._reading.show(fraction)
