"""The language server: what is answered to each message of an editor, and the single error boundary.

A handler reads the session, asks the desk and hands the answer to `convert`; nothing else is decided here. All of it
runs on one event loop. Knows nothing of models, prompts or syntax.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.exceptions import JsonRpcException, JsonRpcInternalError
from pygls.lsp.server import LanguageServer

from mercury_lsp import __version__
from mercury_lsp.completion.pipeline import Completion
from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.config import SECTION
from mercury_lsp.engine.worker import EngineState
from mercury_lsp.lsp import client_quirks, commands, convert, documents
from mercury_lsp.lsp.client import ClientLog, Progress, tell
from mercury_lsp.lsp.consent import Consent
from mercury_lsp.lsp.ignore_check import IgnoreCheck
from mercury_lsp.lsp.previews import DRAFT, Drafts
from mercury_lsp.lsp.protocol import Protocol
from mercury_lsp.lsp.status import STATUS, Status
from mercury_lsp.session.notebooks import moved
from mercury_lsp.session.session import Session
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import LANGUAGES
from mercury_lsp.telemetry.requests import Journal, Request
from mercury_lsp.telemetry.store import History

PATIENCE = 2.0  # seconds that the model waits for the client's settings
FAREWELL = 2.0  # seconds that the history may delay the end
TRIGGERS = tuple(".([{,=:")  # clients ask at words themselves; a menu at each blank would be a bore
SUFFIXES = ",".join(suffix[1:] for language in LANGUAGES if language.outline for suffix in language.suffixes)
RULES = ("**/.gitignore", "**/.mercuryignore", "**/.git/info/exclude", "**/.editorconfig")
WATCHED = (f"**/*.{{{SUFFIXES}}}", *RULES)

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
        self.status = Status(self.session, self.scheduler)
        self._progress = Progress(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: asyncio.Task[None] | None = None
        self.consent = Consent(self, self.session, self.spawn, self._allowed)
        self.ignore_check = IgnoreCheck(
            self.session, self.scheduler, self.spawn, lambda: Progress(self), boundary
        )
        for method, handler, options in FEATURES:
            self.feature(method, options)(handler)
        for method, handler in (documents.NOTIFICATIONS | commands.NOTIFICATIONS | commands.REQUESTS).items():
            self.feature(method)(handler)
        for name, handler in commands.COMMANDS.items():
            self.command(name)(handler)

    @property
    def encoding(self) -> str:
        """Of positions: the first that the client offered and we know. The order of its offers is its preference."""
        return types.PositionEncodingKind(self.server_capabilities.position_encoding or "utf-16").value

    def supports(self, capability: Any) -> bool:
        """Whether the client has a capability."""
        return bool(get_capability(self.client_capabilities, capability))

    def register(self, method: str, options: object) -> None:
        """Ask the client for notifications that it sends only then."""
        self.client_register_capability(
            types.RegistrationParams([types.Registration(method, method, options)])
        )

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
        self.session.workspace.close()
        self.scheduler.close()
        self.journal.close()
        await asyncio.to_thread(self.history.close, FAREWELL)

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
        logging.getLogger("mercury_lsp").setLevel(self.session.config.log_level.upper())
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
        uris = [folder.uri for folder in self.workspace.folders.values()] or [self.workspace.root_uri]
        uris = [uri for uri in uris if uri]
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
        self.history.configure(self.session.config.history, self.session.config.history_days)
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
                found = await self._found(request, chosen, arrival)
                if found is None:
                    log.debug("Nothing is shown: %s.", request.reason or request.cause)
                    return nothing
                self.journal.offers(request, (found, *found.others))
                return commands.commanded(render(found, document, self.encoding), request.ids)
        return nothing

    @contextmanager
    def _written_down(self, request: Request) -> Iterator[None]:
        """Keep the journal of a request while it is answered."""
        self.journal.asked(request)
        try:
            yield
        except Exception:
            request.nothing("error")
            raise
        finally:
            request.model = self.scheduler.model
            self.journal.answered(request, self.session.document(request.document.uri))
            self.status.answered(request)

    async def _found(
        self, request: Request, chosen: types.SelectedCompletionInfo | None, arrival: int
    ) -> Completion | None:
        """What to show, as the client can draw it; None where that is nothing, and the request says why."""
        if commands.quiet(self, request):
            return None
        snapshot, start = self.session.joined(request.snapshot)
        made = await self.scheduler.completion(snapshot, request.offset + start, request.note, arrival)
        made = request.judge(moved(made, start))
        if made is None:
            return None
        found = convert.placed(made, request.snapshot.document, request.document, chosen, self.encoding)
        if found is None:
            request.nothing("withheld", "the editor would hide what replaces more than its own item")
        return found


def initialize(ls: Server, params: types.InitializeParams) -> None:
    """Note what the client is. Its capabilities decide in which form suggestions are offered."""
    if ls.watch is not None and params.process_id is not None:
        ls.watch(params.process_id)
    ls.journal.editor = params.client_info.name if params.client_info else ""
    ls.configure(params.initialization_options, first=True)
    ls.client = client_quirks.client(params)
    ls.scheduler.further = ls.client.further
    if not ls.client.ghost:
        options = types.CompletionOptions(trigger_characters=TRIGGERS)
        ls.feature(types.TEXT_DOCUMENT_COMPLETION, options)(completion)


def initialized(ls: Server, _: types.InitializedParams) -> None:
    """Begin to work: from here on the server may send requests of its own."""
    takes = commands.experimental(ls.client_capabilities)
    if "status" in takes:
        ls.status.send = partial(ls.protocol.notify, STATUS)
        ls.status.changed()
    if "drafts" in takes:
        send = partial(ls.protocol.notify, DRAFT)
        ls.scheduler.draft = Drafts(ls.session.document, send, ls.encoding).take
    logging.getLogger("mercury_lsp").addHandler(ls.client_log)
    if ls.supports("workspace.did_change_configuration.dynamic_registration"):
        ls.register(
            types.WORKSPACE_DID_CHANGE_CONFIGURATION, types.DidChangeConfigurationRegistrationOptions(SECTION)
        )
    if ls.supports("workspace.did_change_watched_files.dynamic_registration"):
        watchers = [types.FileSystemWatcher(glob) for glob in WATCHED]
        ls.register(
            types.WORKSPACE_DID_CHANGE_WATCHED_FILES, types.DidChangeWatchedFilesRegistrationOptions(watchers)
        )
        ls.session.workspace.watched = True
    ls.ignore_check.read()
    if ls.supports("workspace.configuration"):
        ls.ask_settings()
        asyncio.get_running_loop().call_later(PATIENCE, ls.load)  # in case that it never answers
    else:
        ls.load()


def did_change_configuration(ls: Server, params: types.DidChangeConfigurationParams) -> None:
    """Take new settings: from the message where the client cannot be asked."""
    if ls.supports("workspace.configuration"):
        ls.ask_settings()
    else:
        ls.configure(params.settings)
        ls.load()


def did_change_workspace_folders(ls: Server, _: types.DidChangeWorkspaceFoldersParams) -> None:
    """Take the folders as they are now."""
    ls.place()


def did_change_watched_files(ls: Server, params: types.DidChangeWatchedFilesParams) -> None:
    """Read again what has changed on the disk."""
    paths = [convert.path(change.uri) for change in params.changes if convert.is_local(change.uri)]
    if ls.session.workspace.touch(paths):
        ls.ignore_check.look()


async def inline_completion(ls: Server, params: types.InlineCompletionParams) -> types.InlineCompletionList:
    """Ghost text."""
    context = params.context
    invoked = context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    nothing = types.InlineCompletionList([])
    return await ls.suggest(params, context.selected_completion_info, convert.inline, nothing, invoked)


async def completion(ls: Server, params: types.CompletionParams) -> types.CompletionList:
    """The same as an entry of a menu, for clients without ghost text; they say of every word that it was invoked."""
    render = partial(convert.plain, as_is=ls.client.as_is)
    return await ls.suggest(params, None, render, types.CompletionList(True, []))


FEATURES: tuple[tuple[str, Callable[..., Any], object], ...] = (
    (types.INITIALIZE, initialize, None),
    (types.INITIALIZED, initialized, None),
    (types.WORKSPACE_DID_CHANGE_CONFIGURATION, did_change_configuration, None),
    (types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, did_change_workspace_folders, None),
    (types.WORKSPACE_DID_CHANGE_WATCHED_FILES, did_change_watched_files, None),
    (types.TEXT_DOCUMENT_INLINE_COMPLETION, inline_completion, types.InlineCompletionOptions()),
)
