"""Checks which open documents may be completed and used, and shows the progress of reading the workspace.

Threads read the ignore rules. Until a document is known not to be ignored, none of its text is sent to a hosted model
or used for another document.
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
# How long a request waits for the check of its document.
ACCESS_WAIT_SECONDS = 2.0
# How many documents are checked at the same time.
MAX_THREADS = 4

Guard = Callable[[str], AbstractContextManager[None]]
"""The boundary of unexpected errors; its argument describes the activity."""


class IgnoreCheck:
    """Checks the documents of one client. `spawn` runs a coroutine as a task; `progress` creates a progress display."""

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
        # Its own threads: a disk that hangs blocks them, and must not block anything else.
        self._threads = ThreadPoolExecutor(MAX_THREADS, "mercury-access")

    def set_folders(self, uris: Sequence[str]) -> None:
        """Apply the folders and the settings to the workspace; if that changes it, check all documents again."""
        session, config = self._session, self._session.config
        # Only a local model uses the project memory: prompts for a hosted model get nothing from it.
        local = config.remote != "always"
        used = config.enabled and local and config.project_files != "none"
        folders = [convert.path(uri) for uri in uris if convert.is_local(uri)]
        if session.workspace.configure(folders, INDEX_BYTES if used else 0, config.project_files == "all"):
            self.check_all()

    def start_reading(self) -> None:
        """Start to read the workspace in a thread."""
        loop, workspace = asyncio.get_running_loop(), self._session.workspace

        def call_on_loop(call: Callable[..., object], *arguments: object) -> None:
            # The loop is closed: the client has disconnected.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(call, *arguments)

        workspace.busy = lambda: self._scheduler.busy
        workspace.show = lambda fraction: call_on_loop(self._show, fraction)
        workspace.on_rules_changed = lambda: call_on_loop(self.check_all)
        workspace.guard = self._guard
        workspace.start()

    def opened(self, uri: str) -> None:
        """Check a document with a file that was just opened."""
        self._check(uri, opened=True)

    def check_all(self) -> None:
        """Check all documents again, because the rules may have changed."""
        for uri in self._session.uris_with_files:
            self._check(uri)

    def pending(self, uri: str) -> bool:
        """Return whether the check of a document is still running."""
        return uri in self._pending

    async def wait(self, snapshot: Snapshot) -> Snapshot:
        """Wait for the check of a snapshot's document, and return the snapshot with its result.

        After `ACCESS_WAIT_SECONDS` the state known so far counts: an unchecked document is ignored.
        """
        uri = snapshot.document.uri
        with suppress(TimeoutError):
            async with asyncio.timeout(ACCESS_WAIT_SECONDS):
                while (task := self._pending.get(uri)) is not None:
                    await asyncio.wait([task])
        known = self._session.snapshot(uri)
        if known is None:
            return replace(snapshot, ignored=True)
        return replace(snapshot, ignored=known.ignored, private=known.private, indentation=known.indentation)

    def _check(self, uri: str, opened: bool = False) -> None:
        self._session.set_access(uri, None)
        task = self._pending[uri] = self._spawn(self._apply_access(uri, opened))
        task.add_done_callback(partial(self._done, uri))

    async def _apply_access(self, uri: str, opened: bool) -> None:
        session = self._session
        with self._guard("looking whether a file is ignored"):
            file = session.file(uri)
            examine = partial(copy_context().run, session.workspace.check_access, file)
            access = await asyncio.get_running_loop().run_in_executor(self._threads, examine)
            if self._pending.get(uri) is asyncio.current_task() and file == session.file(uri):
                session.set_access(uri, replace(access, inside=access.inside and convert.is_local(uri)))
                if opened and (snapshot := session.snapshot(uri)):
                    self._scheduler.on_open(snapshot)

    def _done(self, uri: str, task: asyncio.Task[None]) -> None:
        if self._pending.get(uri) is task:
            del self._pending[uri]

    def _show(self, fraction: float | None) -> None:
        """Show which fraction of the workspace is read; None ends the display."""
        if fraction is None and self._reading is not None:
            self._reading.end()
            self._reading = None
        elif fraction is not None:
            if self._reading is None:
                self._reading = self._progress()
                self._spawn(self._reading.begin("Reading the workspace"))
            self._reading.show(fraction)
