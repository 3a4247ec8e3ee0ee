"""Handles our extensions of the protocol: commands, debug requests, and the notifications of Copilot's clients."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from typing import Protocol as Interface

from lsprotocol import types
from pygls.exceptions import JsonRpcInternalError, JsonRpcInvalidParams

from mercury_lsp.completion.pipeline import decline_reason
from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Cause
from mercury_lsp.lsp import convert
from mercury_lsp.lsp.ignore_check import IgnoreCheck
from mercury_lsp.lsp.status import STATUS, Status, explain_outcome, local_time
from mercury_lsp.session.notebooks import shift_reply
from mercury_lsp.session.session import MAX_DOCUMENT_CHARACTERS, Session
from mercury_lsp.telemetry import store
from mercury_lsp.telemetry.requests import Request, RequestLog
from mercury_lsp.telemetry.stats import count_events

if TYPE_CHECKING:
    from mercury_lsp.lsp.handlers.next_edit import NextEdits

DIGEST, WORK = "mercury/documentDigest", "mercury/work"
ACCEPTED, EXPLAIN = "mercury.accepted", "mercury.explain"
SNOOZE, RESUME, STATS = "mercury.snooze", "mercury.resume", "mercury.stats"
# The default and the longest snooze, in minutes.
SNOOZE_MINUTES, MAX_SNOOZE_MINUTES = 10, 7 * 24 * 60

ListT = TypeVar("ListT", bound=types.InlineCompletionList | types.CompletionList)


class ServerContext(Interface):
    """The parts of a server that commands use."""

    session: Session
    ignore_check: IgnoreCheck
    scheduler: CompletionScheduler
    journal: RequestLog
    next_edits: NextEdits
    status: Status

    @property
    def encoding(self) -> str:
        """The position encoding."""


def declared_extensions(capabilities: types.ClientCapabilities) -> frozenset[str]:
    """Return the names of our notifications that a client declares it can handle."""
    ours = _field(capabilities.experimental, "mercury")
    return frozenset(name for name in ("status", "drafts", "nextEdit") if _field(ours, name) is True)


def with_accept_command(list_: ListT, ids: Sequence[str]) -> ListT:
    """Add to each item of a list the command that reports its acceptance, and return the list."""
    items: Sequence[types.InlineCompletionItem | types.CompletionItem] = list_.items
    for item, id_ in zip(items, ids, strict=True):
        item.command = types.Command(title="Accepted", command=ACCEPTED, arguments=[id_])
    return list_


def accepted(ls: ServerContext, *arguments: object) -> None:
    """Note that the item with the given id was accepted; an unknown id is ignored."""
    match arguments:
        case (str(id_),):
            ls.journal.on_acceptance(id_)
        case _:
            raise JsonRpcInvalidParams(f"{ACCEPTED} takes the id of an item.")


async def explain(ls: ServerContext, *arguments: object) -> str:
    """Explain why nothing was, or would be, shown at a position, or by the last request if no position is given."""
    if not arguments:
        last = ls.journal.last
        return "Nothing has been asked for yet." if last is None else explain_outcome(ls.session, last)
    uri, position = _uri_and_position(arguments)
    document, snapshot = ls.session.document(uri), ls.session.snapshot(uri)
    if document is None or snapshot is None:
        return f"The server does not have this document: it is closed, or above {MAX_DOCUMENT_CHARACTERS} characters."
    if ls.ignore_check.pending(uri):
        snapshot = await ls.ignore_check.wait(snapshot)
    cursor = convert.offset(document, position, ls.encoding)
    request = Request(snapshot, cursor, document, cursor)
    if is_declined(ls, request):
        return explain_outcome(ls.session, request)
    last = ls.journal.last
    if (
        last is not None
        and last.document == document
        and last.cursor == cursor
        and last.cause is not Cause.SNOOZED
    ):
        return explain_outcome(ls.session, last)
    whole, start = ls.session.join_notebook(snapshot)
    request.record_reply(shift_reply(await ls.scheduler.complete(whole, cursor + start), start))
    return explain_outcome(ls.session, request)


def snooze(ls: ServerContext, *arguments: object) -> str:
    """Pause automatic suggestions for some minutes, and return the time of the end in ISO 8601 format."""
    match arguments:
        case ():
            minutes: float = SNOOZE_MINUTES
        case (int() | float() as given,) if not isinstance(given, bool) and 0 < given <= MAX_SNOOZE_MINUTES:
            minutes = given
        case _:
            raise JsonRpcInvalidParams(f"{SNOOZE} takes a number of minutes, {MAX_SNOOZE_MINUTES} at most.")
    ls.session.snoozed_until = time.time() + 60 * minutes
    ls.status.changed()
    return local_time(ls.session.snoozed_until).isoformat(timespec="seconds")


def resume(ls: ServerContext, *arguments: object) -> None:
    """End a snooze."""
    if arguments:
        raise JsonRpcInvalidParams(f"{RESUME} takes no arguments.")
    ls.session.snoozed_until = 0.0
    ls.status.changed()


async def stats(ls: ServerContext, *arguments: object) -> dict[str, Any]:
    """Return the figures of `mercury-lsp stats`, of the whole history or of the given number of days."""
    match arguments:
        case ():
            days = None
        case (int() | float() as given,) if (
            not isinstance(given, bool) and 1 <= given < math.inf and given == int(given)
        ):
            days = int(given)
        case _:
            raise JsonRpcInvalidParams(f"{STATS} takes a number of days, 1 at least, or nothing.")
    try:
        return count_events(await asyncio.to_thread(store.read_events, days))
    except store.HistoryError as error:
        raise JsonRpcInternalError(str(error)) from error


COMMANDS: dict[str, Callable[..., Any]] = {
    ACCEPTED: accepted,
    EXPLAIN: explain,
    SNOOZE: snooze,
    RESUME: resume,
    STATS: stats,
}


def did_show(ls: ServerContext, params: Any) -> None:
    """Note that a client of Copilot shows an item."""
    if (id_ := _item_id(params)) is not None:
        ls.journal.on_shown(id_)


def did_partially_accept(ls: ServerContext, params: Any) -> None:
    """Note that a client of Copilot reports acceptance of an item's first `acceptedLength` UTF-16 units."""
    id_, units = _item_id(params), getattr(params, "acceptedLength", None)
    if id_ is not None and isinstance(units, int) and units > 0:
        ls.journal.on_partial_acceptance(id_, units)


def did_focus(ls: ServerContext, params: Any) -> None:
    """Note that the user went to a document; some clients name it as Copilot's do, some as Cody's."""
    uri = getattr(getattr(params, "textDocument", params), "uri", None)
    if isinstance(uri, str):
        ls.session.focus(uri)
        ls.journal.on_focus(uri)


NOTIFICATIONS: dict[str, Callable[..., Any]] = {
    "textDocument/didShowCompletion": did_show,
    "textDocument/didPartiallyAcceptCompletion": did_partially_accept,
    "textDocument/didFocus": did_focus,
}


def document_digest(ls: ServerContext, params: Any) -> dict[str, object] | None:
    """Return version, character count and SHA-256 (of UTF-8) of the server's copy of a document, to debug a client."""
    uri = getattr(getattr(params, "textDocument", None), "uri", None)
    if not isinstance(uri, str):
        raise JsonRpcInvalidParams("A document has the form {textDocument: {uri: ...}}.")
    document = ls.session.document(uri)
    if document is None:
        return None
    digest = hashlib.sha256(document.text.encode()).hexdigest()
    return {"version": document.version, "characters": len(document.text), "sha256": digest}


REQUESTS: dict[str, Callable[..., Any]] = {
    DIGEST: document_digest,
    # For debugging: the worker's finished and pending work.
    WORK: lambda ls, _: ls.scheduler.debug_state,
    STATUS: lambda ls, _: ls.status.value,
}


def is_declined(ls: ServerContext, request: Request) -> bool:
    """Return whether a request is declined or snoozed, whatever the model would write; if so, note the cause."""
    if reason := decline_reason(request.snapshot):
        request.record_nothing(Cause.DECLINED, reason)
    elif ls.session.snoozed and not request.snapshot.manual:
        request.record_nothing(Cause.SNOOZED)
    else:
        return False
    return True


def _uri_and_position(arguments: Sequence[object]) -> tuple[str, types.Position]:
    """Return a URI and a position from two arguments or from a request's parameters. Raises `JsonRpcInvalidParams`."""
    if len(arguments) == 1:
        params = arguments[0]
        arguments = (_field(_field(params, "textDocument") or params, "uri"), _field(params, "position"))
    if len(arguments) == 2 and isinstance(uri := arguments[0], str):
        line, character = _field(arguments[1], "line"), _field(arguments[1], "character")
        if _is_count(line) and _is_count(character):
            return uri, types.Position(line, character)
    raise JsonRpcInvalidParams(f"{EXPLAIN} takes a URI and a position, or nothing.")


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _item_id(params: Any) -> str | None:
    """Return the id in the command of one of our items, or None."""
    arguments = getattr(getattr(getattr(params, "item", None), "command", None), "arguments", None)
    return (
        arguments[0] if isinstance(arguments, list) and arguments and isinstance(arguments[0], str) else None
    )
