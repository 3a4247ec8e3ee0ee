"""Answers the messages of an editor, behind a single error boundary.

A handler reads the session, asks the scheduler and passes the reply to `convert`; nothing else is decided here. All of
it runs on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.exceptions import JsonRpcException, JsonRpcInternalError
from pygls.lsp.server import LanguageServer

from mercury_lsp import __version__
from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Cause, Completion
from mercury_lsp.config import SECTION
from mercury_lsp.engine.worker import EngineState
from mercury_lsp.lsp import client_quirks, convert
from mercury_lsp.lsp.client import CURRENT_SERVER, ClientLog, Progress, show_message
from mercury_lsp.lsp.consent import Consent
from mercury_lsp.lsp.handlers import commands, documents, next_edit, workspace
from mercury_lsp.lsp.ignore_check import IgnoreCheck
from mercury_lsp.lsp.protocol import Protocol, Writer
from mercury_lsp.lsp.status import Status
from mercury_lsp.session.notebooks import shift_reply
from mercury_lsp.session.session import Session
from mercury_lsp.syntax.document import Document
from mercury_lsp.telemetry.requests import Request, RequestLog
from mercury_lsp.telemetry.store import History

# The longest time that closing the history may delay the end of the server.
CLOSE_SECONDS = 2.0

NOTEBOOKS = types.NotebookDocumentSyncOptions(
    [types.NotebookDocumentFilterWithNotebook("*", [types.NotebookCellLanguage("*")])]
)

ListT = TypeVar("ListT", bound=types.InlineCompletionList | types.CompletionList)
log = logging.getLogger(__name__)


@contextmanager
def error_boundary(activity: str, on_error: Callable[[Exception], object] | None = None) -> Iterator[None]:
    """Log an unexpected exception of the enclosed code with its traceback, and let the server go on.

    This is the only place where unexpected errors end. `activity` describes the code in the log; `on_error` is
    called with the exception.
    """
    try:
        yield
    except Exception as error:
        log.exception("An unexpected error while %s.", activity)
        if on_error is not None:
            on_error(error)


class Server(LanguageServer):
    """The server of one client: its session, scheduler, journal, next edits and status."""

    protocol: Protocol
    watch: Callable[[int], object] | None = None
    # Whether the process, and therefore its log level, is shared with other clients.
    shared = False

    def __init__(self, overrides: Mapping[str, object] | None = None) -> None:
        super().__init__("mercury-lsp", __version__, notebook_document_sync=NOTEBOOKS, protocol_cls=Protocol)
        self.session = Session(overrides)
        self.client_log = ClientLog(self)
        self.quirks = client_quirks.DEFAULT
        self._shown_problems: tuple[str, ...] = ()
        # Whether the user has been told of an unexpected error.
        self._error_shown = False
        self.scheduler = CompletionScheduler()
        self.history = History()
        self.journal = RequestLog(self.history)
        self.next_edits = next_edit.NextEdits(error_boundary)
        self.status = Status(self.session, self.scheduler, self.next_edits.larger_model.hosted_status)
        self._progress = Progress(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._settings_request: asyncio.Task[None] | None = None
        self.consent = Consent(self, self.session, self.spawn, self._apply_allowed)
        self.ignore_check = IgnoreCheck(
            self.session, self.scheduler, self.spawn, lambda: Progress(self), error_boundary
        )
        for method, handler, options in workspace.FEATURES:
            self.feature(method, options)(handler)
        for method, handler in (documents.NOTIFICATIONS | commands.NOTIFICATIONS | commands.REQUESTS).items():
            self.feature(method)(handler)
        for name, handler in commands.COMMANDS.items():
            self.command(name)(handler)
        next_edit.register(self)

    @property
    def encoding(self) -> str:
        """The negotiated position encoding: the first supported one in the client's order of preference."""
        return types.PositionEncodingKind(self.server_capabilities.position_encoding or "utf-16").value

    def supports(self, capability: Any) -> bool:
        """Return whether the client has a capability."""
        return bool(get_capability(self.client_capabilities, capability))

    def register(self, method: str, options: object) -> None:
        """Register for notifications that the client sends only on dynamic registration."""
        registration = types.Registration(method, method, options)
        self.client_register_capability(types.RegistrationParams([registration]))

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task, until it ends or the server closes."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop all tasks and threads of the client, and release its resources."""
        logging.getLogger("mercury_lsp").removeHandler(self.client_log)
        await self.protocol.cancel_requests()
        for task in self._tasks:
            task.cancel()
        self.status.close()
        self.session.workspace.close(0)
        self.scheduler.close(0)
        self.next_edits.larger_model.close()
        self.journal.close()
        # These calls block, and the event loop may serve other clients, too.
        for wait in (self.session.workspace.close, self.scheduler.close):
            await asyncio.to_thread(wait)
        await asyncio.to_thread(self.history.close, CLOSE_SECONDS)

    def report_server_error(self, error: Exception, source: object) -> None:
        """Log an error that pygls caught; the inherited method would show it to the user, who cannot act on it."""
        cause = sys.exception() or error
        if isinstance(cause, JsonRpcException) and not isinstance(cause, JsonRpcInternalError):
            # The message was invalid, and the client has already received an error response.
            log.info("Refused a message: %s", cause)
            return
        with error_boundary("handling a message"):
            raise error

    def _show_error(self, error: Exception) -> None:
        """Tell the user of an unexpected error, only the first time: the log has all of them."""
        if not self._error_shown:
            self._error_shown = True
            sentence = f"There is no suggestion because of an error of ours ({type(error).__name__}); the log has more."
            show_message(self, types.MessageType.Error, sentence)

    def configure(self, settings: object, first: bool = False) -> None:
        """Apply the client's settings, and tell the user about problems in them, each set of problems once."""
        self.session.configure(settings, first)
        self.apply_settings()

    def apply_settings(self) -> None:
        """Apply the session's settings to everything except what `load` handles: the model, consent and the history."""
        self.set_folders()
        self.next_edits.larger_model.configure(self.session.config)
        level = logging.getLevelNamesMapping()[self.session.config.log_level.upper()]
        self.client_log.setLevel(max(logging.WARNING, level))
        if not self.shared:
            logging.getLogger("mercury_lsp").setLevel(level)
        if self.session.problems and self.session.problems != self._shown_problems:
            show_message(self, types.MessageType.Warning, " ".join(self.session.problems))
        self._shown_problems = self.session.problems
        self.status.changed()

    def _apply_allowed(self) -> None:
        """Apply settings that the user has just allowed."""
        self.apply_settings()
        self.load()

    def set_folders(self) -> None:
        """Pass the workspace folders to the session and to the ignore check."""
        uris = [folder.uri for folder in self.workspace.folders.values() if folder.uri]
        self.session.set_folders([convert.path(uri) for uri in uris])
        self.ignore_check.set_folders(uris)

    def request_settings(self) -> None:
        """Request the client's settings. Cancels an earlier request, so that a late answer to it is ignored."""
        if self._settings_request is not None:
            self._settings_request.cancel()
        self._settings_request = self.spawn(self._request_settings())

    async def _request_settings(self) -> None:
        """Request and apply the client's settings, then load the model, even if the client answers with an error."""
        with error_boundary("asking the client for its settings"):
            items = [types.ConfigurationItem(section=SECTION)]
            try:
                answer = await self.workspace_configuration_async(types.ConfigurationParams(items))
            except JsonRpcException as error:
                log.warning("The client does not tell its settings: %s", error)
            else:
                self.configure(answer[0] if answer else None)
        self.load()

    def load(self) -> None:
        """Configure the history, ask for consent if needed, and load the model unless that is done or under way."""
        self.consent.ask_if_needed()
        self.history.configure(self.session.config.history_days)
        progress = Progress(self)

        def show(state: EngineState) -> None:
            self.status.changed()
            progress.show(state.fraction)
            if state.kind in ("ready", "failed"):
                progress.end()
                self.session.workspace.index_with(self.scheduler.vocabulary)
            if state.kind == "failed":
                sentence = state.detail.partition("\n")[0] or "The model cannot be loaded."
                show_message(self, types.MessageType.Error, sentence)

        if self.scheduler.load(self.session.config, show):
            self._progress.end()
            self._progress = progress
            self.spawn(progress.begin(f"Loading the model {self.session.model}"))

    async def suggest(
        self,
        params: types.InlineCompletionParams | types.CompletionParams,
        selected: types.SelectedCompletionInfo | None,
        render: Callable[[Completion, Document, str], ListT],
        empty: ListT,
        invoked: bool = False,
    ) -> ListT:
        """Return the rendered suggestion for a request, or `empty` if there is none or an error occurs.

        `render` turns the completion into the protocol's form; `selected` is the item that is selected in the editor's
        own menu; `invoked`: the user asked for the suggestion. All code before the first `await` runs before the next
        message is read (see `serve`), so the snapshot is the text that the client had when it sent the request.
        """
        with error_boundary("looking for a suggestion", self._show_error):
            uri = params.text_document.uri
            snapshot = self.session.snapshot(uri)
            if snapshot is None:
                return empty
            request_number = self.scheduler.next_request_number()
            if self.ignore_check.pending(uri):
                snapshot = await self.ignore_check.wait(snapshot)
            document = snapshot.document
            cursor = offset = convert.offset(document, params.position, self.encoding)
            snapshot = replace(
                snapshot, manual=invoked, wants_alternatives=self.quirks.alternatives_delay is not None
            )
            if selected is not None:
                assumed, offset = convert.accept_selected(document, selected, self.encoding)
                snapshot = replace(snapshot, document=assumed)
            request = Request(snapshot, offset, document, cursor)
            with self._record(request):
                completion = await self._completion(request, selected, request_number)
                if completion is None:
                    log.debug("Nothing is shown: %s.", request.reason or request.cause)
                    return empty
                self.journal.assign_ids(request, (completion, *completion.alternatives))
                return commands.with_accept_command(render(completion, document, self.encoding), request.ids)
        return empty

    @contextmanager
    def _record(self, request: Request) -> Iterator[None]:
        """Record a request in the journal and the status, before and after it is answered."""
        self.journal.start(request)
        try:
            yield
        except Exception:
            request.record_nothing(Cause.ERROR)
            raise
        finally:
            request.model = self.scheduler.model
            self.journal.finish(request, self.session.document(request.document.uri))
            self.status.answered(request)

    async def _completion(
        self, request: Request, selected: types.SelectedCompletionInfo | None, request_number: int
    ) -> Completion | None:
        """Return the completion to show, in a form that the client can draw.

        Returns None if nothing is to be shown; the request then holds the cause.
        """
        if commands.is_declined(self, request):
            return None
        snapshot, start = self.session.join_notebook(request.snapshot)
        reply = await self.scheduler.complete(snapshot, request.offset + start, request_number)
        answer = request.record_reply(shift_reply(reply, start))
        if answer is None:
            return None
        answer = convert.as_insertion(answer, request.snapshot.document)
        if selected is not None:
            answer = convert.with_selected(answer, request.document, selected, self.encoding)
        if answer is None:
            request.record_nothing(
                Cause.WITHHELD, "the editor would hide what replaces more than its own item"
            )
        return answer


async def serve(
    messages: AsyncIterator[bytes],
    writer: Writer,
    overrides: Mapping[str, object] | None = None,
    watch: Callable[[int], object] | None = None,
    on_end: Callable[[int], None] = lambda status: None,
    shared: bool = False,
) -> int:
    """Serve one client until it exits or disconnects. Return the exit status that the protocol demands.

    `messages` are the bodies of the client's messages. `watch` is called with the id of the client's process. `on_end`
    is called with the exit status before running tasks are ended. `shared`: the process serves other clients, too.
    """
    server = Server(overrides)
    server.watch, server.shared = watch, shared
    CURRENT_SERVER.set(server)
    server.protocol.set_writer(writer)
    status = 1
    try:
        async for body in messages:
            with error_boundary("reading a message"):
                server.protocol.receive(body)
            if server.protocol.exit_code is not None:
                status = server.protocol.exit_code
                return status
            # The loop runs callbacks in order: a handler reaches its first `await` before the next message is read, so
            # a change that follows a request cannot get into the request's snapshot.
            await asyncio.sleep(0)
        return status
    finally:
        on_end(status)
        await server.close()
        writer.close()
