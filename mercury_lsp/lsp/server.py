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
from mercury_lsp.lsp.client import SERVED, ClientLog, Progress, tell
from mercury_lsp.lsp.consent import Consent
from mercury_lsp.lsp.handlers import commands, documents, next_edit, workspace
from mercury_lsp.lsp.ignore_check import IgnoreCheck
from mercury_lsp.lsp.protocol import Protocol, Writer
from mercury_lsp.lsp.status import Status
from mercury_lsp.session.notebooks import moved
from mercury_lsp.session.session import Session
from mercury_lsp.syntax.document import Document
from mercury_lsp.telemetry.requests import Journal, Request
from mercury_lsp.telemetry.store import History

# The history may delay the end so long.
CLOSE_SECONDS = 2.0

NOTEBOOKS = types.NotebookDocumentSyncOptions(
    [types.NotebookDocumentFilterWithNotebook("*", [types.NotebookCellLanguage("*")])]
)

A = TypeVar("A", bound=types.InlineCompletionList | types.CompletionList)
log = logging.getLogger(__name__)


@contextmanager
def boundary(doing: str, notice: Callable[[Exception], object] | None = None) -> Iterator[None]:
    """The one place where what nobody expected ends: it is logged with its traceback, and the server goes on.

    `notice` is told of the error.
    """
    try:
        yield
    except Exception as error:
        log.exception("An unexpected error while %s.", doing)
        if notice is not None:
            notice(error)


class Server(LanguageServer):
    """The server of one client: its session, its desk and its journal."""

    protocol: Protocol
    watch: Callable[[int], object] | None = None
    shared = False  # whether the process, and so its log, serves other clients, too

    def __init__(self, overrides: Mapping[str, object] | None = None) -> None:
        super().__init__("mercury-lsp", __version__, notebook_document_sync=NOTEBOOKS, protocol_cls=Protocol)
        self.session = Session(overrides)
        self.client_log = ClientLog(self)
        self.client = client_quirks.DEFAULT
        self._told: tuple[str, ...] = ()
        self._troubled = False  # the user was told of an error
        self.scheduler = CompletionScheduler()
        self.history = History()
        self.journal = Journal(self.history)
        self.next_edits = next_edit.NextEdits(boundary)
        self.status = Status(self.session, self.scheduler, self.next_edits.larger.hosted_status)
        self._progress = Progress(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: asyncio.Task[None] | None = None
        self.consent = Consent(self, self.session, self.spawn, self._allowed)
        self.ignore_check = IgnoreCheck(
            self.session, self.scheduler, self.spawn, lambda: Progress(self), boundary
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
        """Of positions: the first that the client offered and we know. The order of its offers is its preference."""
        return types.PositionEncodingKind(self.server_capabilities.position_encoding or "utf-16").value

    def supports(self, capability: Any) -> bool:
        """Whether the client has a capability."""
        return bool(get_capability(self.client_capabilities, capability))

    def register(self, method: str, options: object) -> None:
        """Ask the client for notifications that it sends only then."""
        registration = types.Registration(method, method, options)
        self.client_register_capability(types.RegistrationParams([registration]))

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the messages, until it or the server ends."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End all that runs for the client."""
        logging.getLogger("mercury_lsp").removeHandler(self.client_log)
        await self.protocol.settle()
        for task in self._tasks:
            task.cancel()
        self.status.close()
        self.session.workspace.close(0)
        self.scheduler.close(0)
        self.next_edits.larger.close()
        self.journal.close()
        # Not on the loop, which may serve other clients, too.
        for wait in (self.session.workspace.close, self.scheduler.close):
            await asyncio.to_thread(wait)
        await asyncio.to_thread(self.history.close, CLOSE_SECONDS)

    def report_server_error(self, error: Exception, source: object) -> None:
        """Pygls hands in here what it caught; the parent would show it to the user, whom it does not help."""
        cause = sys.exception() or error
        if isinstance(cause, JsonRpcException) and not isinstance(cause, JsonRpcInternalError):
            log.info("Refused a message: %s", cause)  # it is the client's, and has been answered
            return
        with boundary("handling a message"):
            raise error

    def _notice(self, error: Exception) -> None:
        """Tell the user of an error, once: at each key it would be a nuisance, and the log has them all."""
        if not self._troubled:
            self._troubled = True
            sentence = f"There is no suggestion because of an error of ours ({type(error).__name__}); the log has more."
            tell(self, types.MessageType.Error, sentence)

    def configure(self, settings: object, first: bool = False) -> None:
        """Take the client's settings, and tell the user, once, what is wrong with them."""
        self.session.configure(settings, first)
        self.committed()

    def committed(self) -> None:
        """Do what the session's settings say, but for what `load` does."""
        self.place()
        self.next_edits.larger.configure(self.session.config)
        level = logging.getLevelNamesMapping()[self.session.config.log_level.upper()]
        self.client_log.setLevel(max(logging.WARNING, level))
        if not self.shared:
            logging.getLogger("mercury_lsp").setLevel(level)
        if self.session.problems and self.session.problems != self._told:
            tell(self, types.MessageType.Warning, " ".join(self.session.problems))
        self._told = self.session.problems
        self.status.changed()

    def _allowed(self) -> None:
        """The user has allowed settings that did not count so far."""
        self.committed()
        self.load()

    def place(self) -> None:
        """Tell the workspace its folders, and how much of them may be kept in memory."""
        uris = [folder.uri for folder in self.workspace.folders.values() if folder.uri]
        self.session.place([convert.path(uri) for uri in uris])
        self.ignore_check.place(uris)

    def ask_settings(self) -> None:
        """Ask the client for its settings. An answer that comes later to an earlier question is not heard any more."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking = self.spawn(self._ask_settings())

    async def _ask_settings(self) -> None:
        """Take the client's settings, and load the model with what is known then."""
        with boundary("asking the client for its settings"):
            items = [types.ConfigurationItem(section=SECTION)]
            try:
                answer = await self.workspace_configuration_async(types.ConfigurationParams(items))
            except JsonRpcException as error:
                log.warning("The client does not tell its settings: %s", error)
            else:
                self.configure(answer[0] if answer else None)
        self.load()

    def load(self) -> None:
        """Do what the settings say: load their model, unless that is done or under way, and keep a history."""
        self.consent.look()
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
                tell(self, types.MessageType.Error, sentence)

        if self.scheduler.load(self.session.config, show):
            self._progress.end()
            self._progress = progress
            self.spawn(progress.begin(f"Loading the model {self.session.model}"))

    async def suggest(
        self,
        params: types.InlineCompletionParams | types.CompletionParams,
        chosen: types.SelectedCompletionInfo | None,
        render: Callable[[Completion, Document, str], A],
        nothing: A,
        invoked: bool = False,
    ) -> A:
        """Answer a request for a suggestion; with `nothing` where there is none, or anything goes wrong.

        What stands before the first `await` is done before the next message is read (see `serve`), so the snapshot
        is the text that the client meant. `chosen` is the item that is selected in the editor's own menu; `invoked`
        tells that the user asked.
        """
        with boundary("looking for a suggestion", self._notice):
            uri = params.text_document.uri
            snapshot = self.session.snapshot(uri)
            if snapshot is None:
                return nothing
            arrival = self.scheduler.arrived()
            if self.ignore_check.pending(uri):
                snapshot = await self.ignore_check.committed(snapshot)
            document = snapshot.document
            cursor = offset = convert.offset(document, params.position, self.encoding)
            snapshot = replace(snapshot, invoked=invoked, several=self.client.further is not None)
            if chosen is not None:
                assumed, offset = convert.accepted(document, chosen, self.encoding)
                snapshot = replace(snapshot, document=assumed)
            request = Request(snapshot, offset, document, cursor)
            with self._written_down(request):
                completion = await self._completion(request, chosen, arrival)
                if completion is None:
                    log.debug("Nothing is shown: %s.", request.reason or request.cause)
                    return nothing
                self.journal.offers(request, (completion, *completion.others))
                return commands.commanded(render(completion, document, self.encoding), request.ids)
        return nothing

    @contextmanager
    def _written_down(self, request: Request) -> Iterator[None]:
        """Keep the journal of a request while it is answered."""
        self.journal.asked(request)
        try:
            yield
        except Exception:
            request.nothing(Cause.ERROR)
            raise
        finally:
            request.model = self.scheduler.model
            self.journal.answered(request, self.session.document(request.document.uri))
            self.status.answered(request)

    async def _completion(
        self, request: Request, chosen: types.SelectedCompletionInfo | None, arrival: int
    ) -> Completion | None:
        """What to show, as the client can draw it; None where that is nothing, and the request says why."""
        if commands.quiet(self, request):
            return None
        snapshot, start = self.session.joined(request.snapshot)
        reply = await self.scheduler.completion(snapshot, request.offset + start, arrival)
        answer = request.answer(moved(reply, start))
        if answer is None:
            return None
        answer = convert.inserted(answer, request.snapshot.document)
        if chosen is not None:
            answer = convert.with_chosen(answer, request.document, chosen, self.encoding)
        if answer is None:
            request.nothing(Cause.WITHHELD, "the editor would hide what replaces more than its own item")
        return answer


async def serve(
    messages: AsyncIterator[bytes],
    writer: Writer,
    overrides: Mapping[str, object] | None = None,
    watch: Callable[[int], object] | None = None,
    ending: Callable[[int], None] = lambda status: None,
    shared: bool = False,
) -> int:
    """Serve one client until it exits or is gone; the exit status that the protocol asks for.

    `messages` are their bodies. `watch` is given the id of the client's process. `ending` is told the status once it is
    known, before all that still runs is ended. `shared`: the process serves other clients, too.
    """
    server = Server(overrides)
    server.watch, server.shared = watch, shared
    SERVED.set(server)
    server.protocol.set_writer(writer)
    status = 1
    try:
        async for body in messages:
            with boundary("reading a message"):
                server.protocol.receive(body)
            if server.protocol.exit_code is not None:
                status = server.protocol.exit_code
                return status
            # The loop runs callbacks in order, so a handler runs to its first `await` before the next message is read:
            # a change that comes right after a request cannot get ahead of the request's snapshot.
            await asyncio.sleep(0)
        return status
    finally:
        ending(status)
        await server.close()
        writer.close()
