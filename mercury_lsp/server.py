"""The language server: what is answered to each message of an editor, and the single error boundary.

A handler reads the session, asks the desk and hands the answer to `convert`; nothing else is decided here. All of it
runs on one event loop. Knows nothing of models, prompts or syntax.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.lsp.server import LanguageServer

from mercury_lsp import __version__, convert
from mercury_lsp.client import ClientLog, Progress, tell
from mercury_lsp.complete import Completion, declined
from mercury_lsp.config import SECTION
from mercury_lsp.context.document import Document
from mercury_lsp.desk import Desk
from mercury_lsp.engine.worker import State
from mercury_lsp.session import Session
from mercury_lsp.wire import Protocol, Writer, frames

PATIENCE = 2.0  # seconds that the model waits for the client's settings
DELETED = 1000  # characters: after so many are gone at once, the user reads before typing on
TRIGGERS = tuple(".([{,=:")  # clients ask at words themselves; a menu at each blank would be a bore
DIGEST = "mercury/documentDigest"
WORK = "mercury/work"

A = TypeVar("A")
log = logging.getLogger(__name__)


@contextmanager
def boundary(doing: str) -> Iterator[None]:
    """The one place where what nobody expected ends: it is logged with its traceback, and the server goes on."""
    try:
        yield
    except Exception:
        log.exception("An unexpected error while %s.", doing)


class Server(LanguageServer):
    """The server of one client: its session and its desk."""

    protocol: Protocol

    def __init__(self, overrides: Mapping[str, object] | None = None) -> None:
        super().__init__("mercury-lsp", __version__, protocol_cls=Protocol)
        self.session = Session(overrides)
        self.client_log = ClientLog(self)
        self._told: tuple[str, ...] = ()
        self.desk = Desk()
        self._progress = Progress(self)
        self._tasks: set[asyncio.Task[None]] = set()
        for method, handler, options in FEATURES:
            self.feature(method, options)(handler)

    @property
    def encoding(self) -> str:
        """Of positions: the first that the client offered and we know. The order of its offers is its preference."""
        return types.PositionEncodingKind(self.server_capabilities.position_encoding or "utf-16").value

    def supports(self, capability: Any) -> bool:
        """Whether the client has a capability."""
        return bool(get_capability(self.client_capabilities, capability))

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside the messages, until it or the server ends."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all that runs for the client."""
        logging.getLogger(__package__).removeHandler(self.client_log)
        await self.protocol.settle()
        for task in self._tasks:
            task.cancel()
        self.desk.close()

    def report_server_error(self, error: Exception, source: object) -> None:
        """Pygls hands in here what it caught; the parent would show it to the user, whom it does not help."""
        with boundary("handling a message"):
            raise error

    def configure(self, settings: object, first: bool = False) -> None:
        """Take the client's settings, and tell the user, once, what is wrong with them."""
        self.session.configure(settings, first)
        logging.getLogger(__package__).setLevel(self.session.config.log_level.upper())
        if self.session.problems and self.session.problems != self._told:
            tell(self, types.MessageType.Warning, " ".join(self.session.problems))
        self._told = self.session.problems

    async def ask_settings(self) -> None:
        """Ask the client for its settings, and load the model with what is known then."""
        with boundary("asking the client for its settings"):
            items = [types.ConfigurationItem(section=SECTION)]
            answer = await self.workspace_configuration_async(types.ConfigurationParams(items))
            self.configure(answer[0] if answer else None)
        self.load()

    def load(self) -> None:
        """Load the model that the settings name, unless that is done or under way."""
        progress = Progress(self)

        def show(state: State) -> None:
            progress.show(state.fraction)
            if state.kind in ("ready", "failed"):
                progress.end()
            if state.kind == "failed":
                sentence = state.detail.partition("\n")[0] or "The model cannot be loaded."
                tell(self, types.MessageType.Error, sentence)

        if self.desk.load(self.session.config, show):
            self._progress.end()
            self._progress = progress
            self.spawn(progress.begin(f"Loading the model {self.session.config.model}"))

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
        with boundary("looking for a suggestion"):
            snapshot = self.session.snapshot(params.text_document.uri)
            if snapshot is None or declined(snapshot):
                return nothing
            document = snapshot.document
            snapshot = replace(snapshot, invoked=invoked)
            if chosen is None:
                offset = convert.offset(document, params.position, self.encoding)
            else:
                assumed, offset = convert.accepted(document, chosen, self.encoding)
                snapshot = replace(snapshot, document=assumed)
            completion = await self.desk.completion(snapshot, offset)
            if completion is None or completion.shown is None:
                if completion is not None:
                    log.debug("Nothing is shown: %s.", completion.reason)
                return nothing
            completion = convert.inserted(completion, snapshot.document)
            if chosen is not None:
                completion = convert.with_chosen(completion, document, chosen, self.encoding)
                if completion is None:
                    log.debug("Nothing is shown: the editor would hide what replaces more than its own item.")
                    return nothing
            return render(completion, document, self.encoding)
        return nothing


def initialize(ls: Server, params: types.InitializeParams) -> None:
    """Note what the client is. Its capabilities decide in which form suggestions are offered."""
    ls.session.roots = roots(ls)
    ls.configure(params.initialization_options, first=True)
    text = params.capabilities.text_document
    if text is None or text.inline_completion is None:
        options = types.CompletionOptions(trigger_characters=TRIGGERS)
        ls.feature(types.TEXT_DOCUMENT_COMPLETION, options)(completion)


def initialized(ls: Server, _: types.InitializedParams) -> None:
    """Begin to work: from here on the server may send requests of its own."""
    logging.getLogger(__package__).addHandler(ls.client_log)
    if ls.supports("workspace.did_change_configuration.dynamic_registration"):
        method = types.WORKSPACE_DID_CHANGE_CONFIGURATION
        options = types.DidChangeConfigurationRegistrationOptions(SECTION)
        ls.client_register_capability(types.RegistrationParams([types.Registration(method, method, options)]))
    if ls.supports("workspace.configuration"):
        ls.spawn(ls.ask_settings())
        asyncio.get_running_loop().call_later(PATIENCE, ls.load)  # in case that it never answers
    else:
        ls.load()


def did_open(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
    """Take a document."""
    document = params.text_document
    path = convert.name(document.uri, ls.session.roots)
    ls.session.open(document.uri, path, document.language_id, document.version, document.text)
    if snapshot := ls.session.snapshot(document.uri):
        ls.desk.opened(snapshot)


def did_change(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
    """Apply changes, each to the outcome of the one before. Work begins where the last one ends."""
    uri, version = params.text_document.uri, params.text_document.version
    typed: tuple[int, str] | None = None
    for change in params.content_changes:
        if isinstance(change, types.TextDocumentContentChangeWholeDocument):
            ls.session.rewrite(uri, version, change.text)
            typed = None  # where, it does not say
        elif document := ls.session.document(uri):
            start, end = convert.span(document, change.range, ls.encoding)
            ls.session.replace(uri, version, start, end, change.text)
            typed = (start, change.text) if change.text or end - start < DELETED else None
    if typed is not None and (snapshot := ls.session.snapshot(uri)):
        ls.desk.changed(snapshot, convert.cursor(snapshot.document, *typed))


def did_close(ls: Server, params: types.DidCloseTextDocumentParams) -> None:
    """Forget a document."""
    ls.session.close(params.text_document.uri)


def did_change_configuration(ls: Server, params: types.DidChangeConfigurationParams) -> None:
    """Take new settings: from the message where the client cannot be asked."""
    if ls.supports("workspace.configuration"):
        ls.spawn(ls.ask_settings())
    else:
        ls.configure(params.settings)
        ls.load()


def did_change_workspace_folders(ls: Server, _: types.DidChangeWorkspaceFoldersParams) -> None:
    """Take the folders as they are now."""
    ls.session.roots = roots(ls)


async def inline_completion(ls: Server, params: types.InlineCompletionParams) -> types.InlineCompletionList:
    """Ghost text."""
    context = params.context
    invoked = context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    nothing = types.InlineCompletionList([])
    return await ls.suggest(params, context.selected_completion_info, convert.inline, nothing, invoked)


async def completion(ls: Server, params: types.CompletionParams) -> types.CompletionList:
    """The same as an entry of a menu, for clients without ghost text; they say of every word that it was invoked."""
    return await ls.suggest(params, None, convert.plain, types.CompletionList(True, []))


def document_digest(ls: Server, params: Any) -> dict[str, object] | None:
    """For debugging a client: what we take its document to be. Version, characters and SHA-256 of the UTF-8 text."""
    document = ls.session.document(params.textDocument.uri)
    if document is None:
        return None
    digest = hashlib.sha256(document.text.encode()).hexdigest()
    return {"version": document.version, "characters": len(document.text), "sha256": digest}


def work(ls: Server, _: object) -> dict[str, object]:
    """For debugging: what the worker has done and has to do."""
    return ls.desk.work


def roots(ls: Server) -> tuple[str, ...]:
    """Paths of the workspace's folders."""
    uris = [folder.uri for folder in ls.workspace.folders.values()] or [ls.workspace.root_uri]
    return tuple(convert.path(uri) for uri in uris if uri)


FEATURES: tuple[tuple[str, Callable[..., Any], object], ...] = (
    (types.INITIALIZE, initialize, None),
    (types.INITIALIZED, initialized, None),
    (types.TEXT_DOCUMENT_DID_OPEN, did_open, None),
    (types.TEXT_DOCUMENT_DID_CHANGE, did_change, None),
    (types.TEXT_DOCUMENT_DID_CLOSE, did_close, None),
    (types.WORKSPACE_DID_CHANGE_CONFIGURATION, did_change_configuration, None),
    (types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, did_change_workspace_folders, None),
    (types.TEXT_DOCUMENT_INLINE_COMPLETION, inline_completion, types.InlineCompletionOptions()),
    (DIGEST, document_digest, None),
    (WORK, work, None),
)


async def serve(
    reader: asyncio.StreamReader, writer: Writer, overrides: Mapping[str, object] | None = None
) -> int:
    """Serve one client until it exits or is gone; the exit status that the protocol asks for."""
    server = Server(overrides)
    server.protocol.set_writer(writer)
    try:
        async for body in frames(reader):
            with boundary("reading a message"):
                server.protocol.receive(body)
            if server.protocol.exit_code is not None:
                return server.protocol.exit_code
            # The loop runs callbacks in order, so a handler runs to its first `await` before the next message is read:
            # a change that comes right after a request cannot get ahead of the request's snapshot.
            await asyncio.sleep(0)
        return 1
    finally:
        await server.close()
        writer.close()
