"""Shows the user messages, the progress of loading, and warnings and errors of the log."""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import suppress
from contextvars import ContextVar

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

# The server of the client that the current code runs for. Tasks inherit it from the connection, threads from the
# context that starts them.
CURRENT_SERVER: ContextVar[LanguageServer | None] = ContextVar("current_server", default=None)


def show_message(server: LanguageServer, kind: types.MessageType, sentences: str) -> None:
    """Show the user a message."""
    server.window_show_message(types.ShowMessageParams(kind, f"mercury: {sentences}"))


class Progress:
    """A long operation in the client's progress display, if the client has one."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._token = str(uuid.uuid4())
        self._begun = self._ended = False
        self._percent = 0

    async def begin(self, title: str) -> None:
        """Ask the client to create a progress display, and start it unless the operation has ended meanwhile."""
        if get_capability(self._server.client_capabilities, "window.work_done_progress"):
            # The client refused.
            with suppress(JsonRpcException):
                await self._server.work_done_progress.create_async(self._token)
                self._begun = not self._ended
                self._send(types.WorkDoneProgressBegin(title, percentage=self._percent))

    def show(self, fraction: float) -> None:
        """Report the done fraction, in steps of at least 5%."""
        percent = int(100 * fraction)
        if percent >= self._percent + 5:
            self._percent = percent
            self._send(types.WorkDoneProgressReport(percentage=percent))

    def end(self) -> None:
        """End the display. Further calls have no effect."""
        self._send(types.WorkDoneProgressEnd())
        self._ended, self._begun = True, False

    def _send(
        self, value: types.WorkDoneProgressBegin | types.WorkDoneProgressReport | types.WorkDoneProgressEnd
    ) -> None:
        if self._begun:
            self._server.progress(types.ProgressParams(self._token, value))


class ClientLog(logging.Handler):
    """Sends warnings and errors to the client's log. Each client that a process serves has a handler of its own."""

    def __init__(self, server: LanguageServer) -> None:
        super().__init__(logging.WARNING)
        self._server = server
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record that belongs to this client. May be called from any thread."""
        if CURRENT_SERVER.get() is not self._server:
            return
        kind = types.MessageType.Error if record.levelno >= logging.ERROR else types.MessageType.Warning
        params = types.LogMessageParams(kind, self.format(record))
        # The loop is closed.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._server.window_log_message, params)
