"""Tests of commands and notifications: accepted arguments, and the sentences that explain a request."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Cause, Completion, Reply, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill
from mercury_lsp.lsp.handlers import commands as actions
from mercury_lsp.lsp.handlers import documents
from mercury_lsp.lsp.ignore_check import IgnoreCheck
from mercury_lsp.lsp.server import Server
from mercury_lsp.lsp.status import Status, explain_outcome
from mercury_lsp.session import session
from mercury_lsp.session.file_access import FileAccess
from mercury_lsp.session.session import Session
from mercury_lsp.syntax.document import Document
from mercury_lsp.telemetry.requests import Request, RequestLog
from mercury_lsp.telemetry.store import History

URI = "file:///w/a.py"
TEXT = "x = "
DOCUMENT = Document(URI, "a.py", "python", 1, TEXT)


class RecordingLog(RequestLog):
    """A request log that records its calls."""

    def __init__(self) -> None:
        super().__init__(History())
        self.told: list[tuple[object, ...]] = []

    def on_acceptance(self, id_: str) -> None:
        self.told.append(("accepted", id_))

    def on_partial_acceptance(self, id_: str, utf16_units: int) -> None:
        self.told.append(("part", id_, utf16_units))

    def on_shown(self, id_: str) -> None:
        self.told.append(("shown", id_))

    def on_focus(self, uri: str) -> None:
        self.told.append(("focused", uri))


class EmptyScheduler(CompletionScheduler):
    """A scheduler that always gives an empty reply with the same cause."""

    said = Cause.DEADLINE
    asked = 0

    async def complete(self, snapshot: Snapshot, offset: int, request_number: int | None = None) -> Reply:
        self.asked += 1
        return Reply(cause=self.said)


class NoIgnoreCheck(IgnoreCheck):
    """An ignore check of a workspace without folders; it examines no document."""

    def __init__(self) -> None:
        super().__init__(Session(), EmptyScheduler(), asyncio.create_task, Any, lambda doing: nullcontext())


@dataclass
class FakeServer:
    session: Session = field(default_factory=Session)
    ignore_check: IgnoreCheck = field(default_factory=NoIgnoreCheck)
    scheduler: EmptyScheduler = field(default_factory=EmptyScheduler)
    journal: RecordingLog = field(default_factory=RecordingLog)
    encoding: str = "utf-16"

    def __post_init__(self) -> None:
        self.status = Status(self.session, self.scheduler)


@pytest.fixture
async def ls() -> FakeServer:
    served = FakeServer()
    served.session.open(URI, "a.py", "python", 1, TEXT)
    return served


def request(cursor: int = len(TEXT)) -> Request:
    return Request(Snapshot(DOCUMENT, Config()), cursor, DOCUMENT, cursor)


def as_namespaces(value: Any) -> Any:
    """Return a value in the form in which pygls passes unknown notifications."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_namespaces(inner) for name, inner in value.items()})
    return value


def test_each_item_has_an_acceptance_command_with_its_id() -> None:
    items = [types.InlineCompletionItem(insert_text=text) for text in ("a", "b")]
    list_ = actions.with_accept_command(types.InlineCompletionList(items), ["7", "8"])
    commands = [item.command for item in list_.items]
    assert [one and (one.command, one.arguments) for one in commands] == [
        ("mercury.accepted", ["7"]),
        ("mercury.accepted", ["8"]),
    ]


async def test_the_notifications_of_copilot_clients_are_accepted(ls: FakeServer) -> None:
    item = {"insertText": "a", "command": {"title": "t", "command": "c", "arguments": ["7"]}}
    bare = {"command": {"arguments": ["8", 3]}}
    actions.did_show(ls, as_namespaces({"item": item}))
    actions.did_show(ls, as_namespaces({"item": bare}))
    actions.did_partially_accept(ls, as_namespaces({"item": item, "acceptedLength": 3}))
    actions.did_focus(ls, as_namespaces({"textDocument": {"uri": URI}}))
    actions.did_focus(ls, as_namespaces({"uri": URI}))
    assert ls.journal.told == [
        ("shown", "7"),
        ("shown", "8"),
        ("part", "7", 3),
        ("focused", URI),
        ("focused", URI),
    ]


@pytest.mark.parametrize(
    "params",
    [
        None,
        3,
        [],
        "x",
        {},
        {"item": None},
        {"item": {"command": None}},
        {"item": {"command": {"arguments": None}}},
        {"item": {"command": {"arguments": []}}},
        {"item": {"command": {"arguments": [7]}}, "acceptedLength": 3},
        {"item": {"command": {"arguments": {"0": "7"}}}},
        {"textDocument": None},
        {"textDocument": {"uri": 3}},
    ],
)
async def test_broken_notifications_are_ignored(ls: FakeServer, params: Any) -> None:
    for handler in actions.NOTIFICATIONS.values():
        handler(ls, as_namespaces(params))
    assert ls.journal.told == []


@pytest.mark.parametrize("length", [0, -1, None, "3", 2.5])
async def test_a_partial_acceptance_without_a_valid_length_is_ignored(ls: FakeServer, length: object) -> None:
    params = {"item": {"command": {"arguments": ["7"]}}, "acceptedLength": length}
    actions.did_partially_accept(ls, as_namespaces(params))
    assert ls.journal.told == []


async def test_a_focused_document_becomes_the_last_used_document(ls: FakeServer) -> None:
    other = "file:///w/b.py"
    for uri in (URI, other):
        ls.session.open(uri, uri.rpartition("/")[2], "python", 1, "", uri.removeprefix("file://"))
        ls.session.set_access(uri, FileAccess(ignored=False, inside=True))
    assert ls.session.workspace.library.opened == ("b.py", "a.py")
    actions.did_focus(ls, as_namespaces({"textDocument": {"uri": URI}}))
    actions.did_focus(ls, as_namespaces({"textDocument": {"uri": "file:///w/none.py"}}))
    assert ls.session.workspace.library.opened == ("a.py", "b.py")


async def test_each_cause_has_an_explanation(ls: FakeServer) -> None:
    for cause in Cause:
        asked = request()
        asked.record_nothing(cause, "it is so")
        sentence = explain_outcome(ls.session, asked)
        assert sentence.endswith(".") and "{" not in sentence and sentence[0].isupper(), cause
        assert ("it is so" in sentence) == (cause in ("declined", "withheld", "deadline", "unanswered"))


async def test_the_explanation_of_a_suggestion_gives_its_length(ls: FakeServer) -> None:
    asked = request()
    asked.record_reply(
        Reply(Completion("abc", "abc", 4, 4, Infill("abc", 2, 1, 1, 1.0, 0.0, 1.0, 0, 1, 0.9, True)))
    )
    assert explain_outcome(ls.session, asked) == "Something is suggested there: a text of 3 characters."


async def test_the_last_request_is_explained_from_the_log_and_other_places_by_a_new_request(
    ls: FakeServer,
) -> None:
    last = request()
    last.record_nothing(Cause.WITHHELD, "it is so")
    ls.journal.last = last
    assert await actions.explain(ls) == "Nothing is shown there: it is so."
    place = {"line": 0, "character": 4}
    assert await actions.explain(ls, URI, place) == "Nothing is shown there: it is so."
    assert ls.scheduler.asked == 0
    told = await actions.explain(ls, URI, {"line": 0, "character": 1})
    assert "deadline" in told and ls.scheduler.asked == 1
    ls.scheduler.said = Cause.LOADING
    told = await actions.explain(ls, {"textDocument": {"uri": URI}, "position": types.Position(0, 2)})
    assert told == "The model is still loading."
    assert await actions.explain(ls, {"uri": URI, "position": place}) == "Nothing is shown there: it is so."
    assert ls.journal.last is last  # explaining does not replace the last request


async def test_a_snooze_ends_after_its_time_or_by_the_command(
    ls: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions.snooze(ls)
    snapshot = ls.session.snapshot(URI)
    assert ls.session.snoozed and snapshot is not None and not snapshot.config.anticipate
    assert "snoozed until" in await actions.explain(ls, URI, {"line": 0, "character": 4})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60 * actions.SNOOZE_MINUTES + 1)
    snapshot = ls.session.snapshot(URI)
    assert not ls.session.snoozed and snapshot is not None and snapshot.config.anticipate
    actions.snooze(ls, 0.5)
    assert ls.session.snoozed
    actions.resume(ls)
    assert not ls.session.snoozed


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (actions.ACCEPTED, [None]),
        (actions.EXPLAIN, [URI, None]),
        (actions.EXPLAIN, [URI, {"line": True, "character": 0}]),
        (actions.EXPLAIN, [URI, {"line": 1 << 31, "character": 0}]),
        (actions.SNOOZE, [float("nan")]),
        (actions.SNOOZE, [-1]),
        (actions.RESUME, [None]),
        (actions.STATS, [0]),
        (actions.STATS, [1.5]),
        (actions.STATS, [float("inf")]),
    ],
)
async def test_invalid_arguments_raise_one_clear_error(
    ls: FakeServer, name: str, arguments: list[object]
) -> None:
    async def run() -> None:
        answer = actions.COMMANDS[name](ls, *arguments)
        if asyncio.iscoroutine(answer):
            await answer

    with pytest.raises(JsonRpcInvalidParams, match=f"^{name} takes"):
        await run()


async def test_cancelling_a_request_cancels_its_command() -> None:
    server, ended, answers = Server(), asyncio.Event(), list[bytes]()

    async def waiting(*_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    server.command("wait")(waiting)
    server.protocol.set_writer(SimpleNamespace(write=answers.append, close=lambda: None))
    for message in (
        {"id": 1, "method": "initialize", "params": {"processId": None, "rootUri": None, "capabilities": {}}},
        {"id": 2, "method": "workspace/executeCommand", "params": {"command": "wait"}},
        {"method": "$/cancelRequest", "params": {"id": 2}},
    ):
        server.protocol.receive(json.dumps({"jsonrpc": "2.0", **message}).encode())
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await ended.wait()
        await server.protocol.cancel_requests()
    assert b"-32800" in answers[-1]
    assert server.protocol._request_futures == {}


@pytest.mark.parametrize("kept", [40, 20])
async def test_recorded_edits_match_the_text_after_a_document_was_too_large(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_DOCUMENT_CHARACTERS", 10)
    monkeypatch.setattr(session, "MAX_KEPT_CHARACTERS", kept)
    server, uri = Server(), "untitled:a.py"
    item = types.TextDocumentItem(uri, "python", 1, "a = 1\n")
    documents.did_open(server, types.DidOpenTextDocumentParams(item))
    for version, text in enumerate(("a = 1\n" * 5, "a = 1\nb = 2\n" + "a = 1\n" * 3, "a = 2\n"), 2):
        change = types.TextDocumentContentChangeWholeDocument(text)
        versioned = types.VersionedTextDocumentIdentifier(version, uri)
        documents.did_change(server, types.DidChangeTextDocumentParams(versioned, [change]))
    known = server.session.document(uri)
    assert known is not None
    for edit in server.next_edits._history.edits(uri):
        assert known.text[edit.start : edit.end] == edit.after


@pytest.mark.parametrize("folders", [None, ["file:///a%20b"]])
async def test_the_root_is_added_and_removed_like_any_other_folder(folders: list[str] | None) -> None:
    server, id_ = Server(), 1
    server.protocol.set_writer(SimpleNamespace(write=lambda data: None, close=lambda: None))

    def receive(method: str, params: object, **more: object) -> tuple[str, ...]:
        message = {"jsonrpc": "2.0", "method": method, "params": params, **more}
        server.protocol.receive(json.dumps(message).encode())
        return server.session.roots

    def changed(added: Sequence[str] = (), removed: Sequence[str] = ()) -> tuple[str, ...]:
        event = {"added": [{"uri": uri, "name": ""} for uri in added]}
        event["removed"] = [{"uri": uri, "name": ""} for uri in removed]
        return receive("workspace/didChangeWorkspaceFolders", {"event": event})

    given = None if folders is None else [{"uri": uri, "name": ""} for uri in folders]
    params = {"processId": None, "rootUri": "file:///a%20b", "workspaceFolders": given, "capabilities": {}}
    assert receive("initialize", params, id=id_) == ("/a b",)
    assert changed(added=["file:///c"]) == ("/a b", "/c")
    assert changed(removed=["file:///c"]) == ("/a b",)
    # A new name or place in the list, for which editors remove the folder and add it in one event.
    assert changed(added=["file:///a%20b"], removed=["file:///a%20b"]) == ("/a b",)
    both = ["file:///c", "file:///a%20b"]
    assert set(changed(added=both, removed=["file:///d", "file:///c", "file:///a%20b"])) == {"/a b", "/c"}
    assert changed(added=["file:///d"], removed=both) == ("/d",)
    assert changed(removed=["file:///d"]) == ()
    await server.close()
