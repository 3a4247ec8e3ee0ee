"""Offers the next edit: by Copilot's request `textDocument/copilotInlineEdit`, and as a code action.

The search is short, so it runs at once in a thread; the model judges its results when the worker is idle. An answer has
at most one edit, the best.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from mercury_lsp.completion.idle import when_idle
from mercury_lsp.completion.pipeline import build_prompt, decline_reason
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.edits.candidates import find_candidates
from mercury_lsp.edits.history import Edit, EditHistory
from mercury_lsp.edits.judge import MIN_GAIN, pick_candidate
from mercury_lsp.edits.search import Candidate, Dismissals
from mercury_lsp.lsp import convert
from mercury_lsp.lsp.handlers.commands import ServerContext, declared_extensions
from mercury_lsp.lsp.ignore_check import Guard
from mercury_lsp.lsp.larger_model import LargerModel
from mercury_lsp.syntax.tree import Syntax

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine
    from mercury_lsp.lsp.server import Server

INLINE_EDIT = "textDocument/copilotInlineEdit"
DID_SHOW = "textDocument/didShowInlineEdit"
EDIT_ACCEPTED, EDIT_DISMISSED = "mercury.editAccepted", "mercury.editDismissed"
TITLE = "Apply next edit"
# Offers that can still be accepted or dismissed.
REMEMBERED_OFFERS = 32
# Characters of an edit in the title of a code action.
MAX_SHOWN_CHARACTERS = 40
# The trigger kind of an automatic request.
AUTOMATIC = 2


@dataclass(frozen=True, slots=True)
class Offer:
    """A candidate that was sent to the client, with the version of its document."""

    uri: str
    version: int
    candidate: Candidate


class NextEdits:
    """The recent edits of the open documents, the offered edits and the dismissed ones."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._history = EditHistory()
        self._dismissed: dict[str, Dismissals] = {}
        self._offers: dict[str, Offer] = {}
        self._numbers = count(1)
        self._searches: dict[str, asyncio.Task[Candidate | None]] = {}
        self.larger_model = LargerModel()

    def changed(self, uri: str, start: int, removed: str, text: str) -> None:
        """Note a change of a document, and cancel a search in its old text."""
        self._history.change(uri, start, removed, text)
        self._cancel(uri)

    def rewritten(self, uri: str, old: str, new: str) -> None:
        """Note the new text of a document that was replaced as a whole, and cancel a search in its old text."""
        self._history.rewrite(uri, old, new)
        self._cancel(uri)

    def forget(self, uri: str) -> None:
        """Forget a document that was closed or opened."""
        self._history.forget(uri)
        self._dismissed.pop(uri, None)
        self._cancel(uri)

    def dismiss(self, id_: str) -> None:
        """Note that the user dismissed an offer; an unknown id is ignored."""
        if (offer := self._offers.pop(id_, None)) is not None:
            self._dismissed.setdefault(offer.uri, Dismissals()).add(offer.candidate)

    def accept(self, id_: str) -> None:
        """Note that the user accepted an offer."""
        self._offers.pop(id_, None)

    def remember_offer(self, offer: Offer) -> str:
        """Return the id by which an offer can be accepted or dismissed."""
        id_ = f"edit-{next(self._numbers)}"
        self._offers[id_] = offer
        while len(self._offers) > REMEMBERED_OFFERS:
            del self._offers[next(iter(self._offers))]
        return id_

    async def find(self, ls: Server, snapshot: Snapshot, cursor: int) -> Candidate | None:
        """Return the next edit of a document, or None if there is none or the document changes meanwhile."""
        uri = snapshot.document.uri
        edits = self._history.edits(uri)
        if not edits:
            return None
        self._cancel(uri)
        search = asyncio.ensure_future(self._search(ls, snapshot, cursor, edits))
        self._searches[uri] = search
        try:
            await asyncio.wait([search])
            return None if search.cancelled() else search.result()
        finally:
            search.cancel()
            if self._searches.get(uri) is search:
                del self._searches[uri]

    async def _search(
        self, ls: Server, snapshot: Snapshot, cursor: int, edits: tuple[Edit, ...]
    ) -> Candidate | None:
        document, dismissed = snapshot.document, self._dismissed.get(snapshot.document.uri)
        found = await asyncio.to_thread(lambda: find_candidates(Syntax.of(document), edits, dismissed))
        if found and found[0].kind not in MIN_GAIN:
            return found[0]
        written = await self.larger_model.find(ls, snapshot, cursor, edits, dismissed)
        if written is not None or not found:
            return written

        def judge(engine: Engine, cancelled: Callable[[], bool]) -> Candidate | None:
            from mercury_lsp.engine.local_engine import LocalEngine

            local = engine if isinstance(engine, LocalEngine) else None
            best = pick_candidate(document, found, edits, local, cancelled)
            if local is not None and snapshot.config.anticipate:
                # The judge's prompt took the place of the completion's: prefill that one again.
                engine.prefill(build_prompt(snapshot, cursor, engine), cancelled)
            return best

        if ls.scheduler.worker is None or ls.scheduler.worker.engine is None:
            return pick_candidate(document, found, edits, None)
        return await when_idle(ls.scheduler, judge)

    def _cancel(self, uri: str) -> None:
        if (search := self._searches.pop(uri, None)) is not None:
            search.cancel()


async def inline_edit(ls: Server, params: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the next edit in Copilot's form, or none if the version is not that of the document."""
    nothing: dict[str, list[dict[str, Any]]] = {"edits": []}
    with ls.next_edits.guard("looking for the next edit"):
        identifier = getattr(params, "textDocument", None)
        uri, version = getattr(identifier, "uri", None), getattr(identifier, "version", None)
        position = getattr(params, "position", None)
        line, character = (_to_count(getattr(position, name, None)) for name in ("line", "character"))
        invoked = getattr(getattr(params, "context", None), "triggerKind", AUTOMATIC) != AUTOMATIC
        if not isinstance(uri, str):
            return nothing
        offer = await _find_offer(ls, uri, types.Position(line, character), version, invoked)
        if offer is None:
            return nothing
        range_ = _range(ls, offer)
        edit = {
            "text": offer.candidate.text,
            "range": {
                "start": {"line": range_.start.line, "character": range_.start.character},
                "end": {"line": range_.end.line, "character": range_.end.character},
            },
            "textDocument": {"uri": uri, "version": offer.version},
            "command": {
                "title": "Accept inline edit",
                "command": EDIT_ACCEPTED,
                "arguments": [ls.next_edits.remember_offer(offer)],
            },
        }
        return {"edits": [edit]}
    return nothing


async def code_action(ls: Server, params: types.CodeActionParams) -> list[types.CodeAction]:
    """Return the next edit as a code action, if the user asks for actions, for clients that cannot draw it."""
    context = params.context
    wanted = context.only is None or any("refactor.rewrite".startswith(kind) for kind in context.only)
    if context.trigger_kind == types.CodeActionTriggerKind.Automatic or not wanted:
        return []
    with ls.next_edits.guard("looking for the next edit"):
        offer = await _find_offer(ls, params.text_document.uri, params.range.start, None, True)
        if offer is None:
            return []
        edit = types.TextEdit(_range(ls, offer), offer.candidate.text)
        id_ = ls.next_edits.remember_offer(offer)
        return [
            types.CodeAction(
                title=_title(ls, offer),
                kind=types.CodeActionKind.RefactorRewrite,
                edit=types.WorkspaceEdit(changes={offer.uri: [edit]}),
                command=types.Command(title="Accept inline edit", command=EDIT_ACCEPTED, arguments=[id_]),
            )
        ]
    return []


async def _find_offer(
    ls: Server, uri: str, position: types.Position, version: object, invoked: bool
) -> Offer | None:
    snapshot = ls.session.snapshot(uri)
    if snapshot is None or snapshot.config.next_edit == "off":
        return None
    document = snapshot.document
    if (version is not None and version != document.version) or (ls.session.snoozed and not invoked):
        return None
    if ls.ignore_check.pending(uri):
        snapshot = await ls.ignore_check.wait(snapshot)
    if decline_reason(snapshot):
        return None
    cursor = convert.offset(document, position, ls.encoding)
    candidate = await ls.next_edits.find(ls, replace(snapshot, manual=invoked), cursor)
    known = ls.session.document(uri)
    if candidate is None or known is None or known.version != document.version or known != document:
        return None
    return Offer(uri, document.version, candidate)


def _range(ls: Server, offer: Offer) -> types.Range:
    document = ls.session.document(offer.uri)
    assert document is not None
    start, end = offer.candidate.start, offer.candidate.end
    return types.Range(
        convert.position(document, start, ls.encoding), convert.position(document, end, ls.encoding)
    )


def _title(ls: Server, offer: Offer) -> str:
    document, candidate = ls.session.document(offer.uri), offer.candidate
    assert document is not None
    line, _ = document.position(candidate.start)
    old = _shorten(document.text[candidate.start : candidate.end])
    return f"{TITLE} in line {line + 1}: {old or 'insert'} → {_shorten(candidate.text) or 'delete'}"


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"


def _to_count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else 0


def did_show(ls: ServerContext, params: Any) -> None:
    """Accept the notification that a client of Copilot shows an edit; it has no effect."""


def edit_accepted(ls: ServerContext, *arguments: object) -> None:
    """Note that the user accepted the edit with the given id."""
    ls.next_edits.accept(_edit_id(EDIT_ACCEPTED, arguments))


def edit_dismissed(ls: ServerContext, *arguments: object) -> None:
    """Note that the user dismissed the edit with the given id."""
    ls.next_edits.dismiss(_edit_id(EDIT_DISMISSED, arguments))


def _edit_id(command: str, arguments: tuple[object, ...]) -> str:
    match arguments:
        case (str(id_),):
            return id_
    raise JsonRpcInvalidParams(f"{command} takes the id of an edit.")


def register(ls: Server) -> None:
    """Register the requests and commands of next edits."""
    ls.feature(INLINE_EDIT)(inline_edit)
    ls.feature(DID_SHOW)(did_show)
    ls.command(EDIT_ACCEPTED)(edit_accepted)
    ls.command(EDIT_DISMISSED)(edit_dismissed)


def register_action(ls: Server, params: types.InitializeParams) -> None:
    """Offer the next edit as a code action to a client that supports code actions and does not declare `nextEdit`."""
    text = params.capabilities.text_document
    if text is None or text.code_action is None or "nextEdit" in declared_extensions(params.capabilities):
        return
    options = types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.RefactorRewrite])
    ls.feature(types.TEXT_DOCUMENT_CODE_ACTION, options)(code_action)
