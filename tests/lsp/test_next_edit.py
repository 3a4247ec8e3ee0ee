"""Next edits of a real server, through Copilot's request and as a code action."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import INLINE, Client, Process, change

TEXT = 'def total(count, x):\n    """é𝔘"""; y = count + x\n    return count\n'
URI = "file:///w/next.py"
NEXT_EDIT = "textDocument/copilotInlineEdit"
ACTIONS = {**INLINE, "textDocument": {**INLINE["textDocument"], "codeAction": {}}}


def ask(
    client: Client, version: int, uri: str = URI, line: int = 0, trigger: int = 2
) -> list[dict[str, Any]]:
    params = {
        "textDocument": {"uri": uri, "version": version},
        "position": {"line": line, "character": 0},
        "context": {"triggerKind": trigger},
    }
    edits: list[dict[str, Any]] = client.ask(NEXT_EDIT, params)["result"]["edits"]
    return edits


def rename(client: Client, uri: str = URI, version: int = 2) -> None:
    client.notify(**change(uri, version, "amount", (0, 10), (0, 15)))


def apply(client: Client, edit: dict[str, Any], version: int) -> None:
    """Apply an edit and run its command, as a client does when the user accepts the edit."""
    start, end = (tuple(edit["range"][name].values()) for name in ("start", "end"))
    client.notify(**change(edit["textDocument"]["uri"], version, edit["text"], start, end))
    command = {name: edit["command"][name] for name in ("command", "arguments")}
    assert client.ask("workspace/executeCommand", command)["result"] is None


@pytest.fixture
def opened(client: Client) -> Client:
    client.open(TEXT, URI, "python")
    yield client
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})


def test_an_edit_has_the_published_form(opened: Client) -> None:
    assert ask(opened, 1) == []
    rename(opened)
    (edit,) = ask(opened, 2)
    id_ = edit["command"].pop("arguments")[0]
    assert isinstance(id_, str)
    # The letter outside of the basic multilingual plane counts two code units.
    assert edit == {
        "text": "amount",
        "textDocument": {"uri": URI, "version": 2},
        "range": {"start": {"line": 1, "character": 19}, "end": {"line": 1, "character": 24}},
        "command": {"title": "Accept inline edit", "command": "mercury.editAccepted"},
    }


def test_each_use_of_a_renamed_name_is_offered_in_turn(opened: Client) -> None:
    rename(opened)
    for version in (2, 3):
        (edit,) = ask(opened, version)
        opened.notify("textDocument/didShowInlineEdit", {"item": edit})
        apply(opened, edit, version + 1)
    assert ask(opened, 4) == []
    digest = opened.ask("mercury/documentDigest", {"textDocument": {"uri": URI}})["result"]
    assert digest["characters"] == len(TEXT.replace("count", "amount"))


def test_a_request_for_an_older_or_newer_version_has_no_edit(opened: Client) -> None:
    rename(opened)
    assert ask(opened, 1) == []
    assert ask(opened, 3) == []
    assert len(ask(opened, 2)) == 1


def test_a_dismissed_edit_does_not_come_back(opened: Client) -> None:
    rename(opened)
    (edit,) = ask(opened, 2)
    dismissed = {"command": "mercury.editDismissed", "arguments": edit["command"]["arguments"]}
    assert opened.ask("workspace/executeCommand", dismissed)["result"] is None
    assert ask(opened, 2) == []
    # A second dismissal of an edit that is gone is no error; an argument that is not an id is.
    assert opened.ask("workspace/executeCommand", dismissed)["result"] is None
    assert "error" in opened.ask("workspace/executeCommand", {**dismissed, "arguments": [1]})


def test_an_undone_change_has_no_edit(opened: Client) -> None:
    rename(opened)
    opened.notify(**change(URI, 3, "count", (0, 10), (0, 16)))
    assert ask(opened, 3) == []


def test_a_change_sent_as_the_whole_text_has_edits(opened: Client) -> None:
    text = TEXT.replace("count", "amount", 1)
    item = {"uri": URI, "version": 2}
    opened.notify("textDocument/didChange", {"textDocument": item, "contentChanges": [{"text": text}]})
    assert [edit["text"] for edit in ask(opened, 2)] == ["amount"]


@pytest.mark.parametrize(
    "params",
    [{}, {"textDocument": {"uri": 1}}, {"textDocument": {"uri": URI}, "position": {"line": -1}}, [], None],
)
def test_a_malformed_request_has_no_edit(opened: Client, params: object) -> None:
    answer = opened.ask(NEXT_EDIT, params)
    assert answer.get("result") == {"edits": []} or "error" in answer
    assert opened.is_served()


def test_an_edit_that_the_model_must_score_and_a_completion_are_both_answered(opened: Client) -> None:
    text = "a = old.call(1)\nb = old.call(2)\nc = old.call(3)\n"
    uri = opened.open(text, "file:///w/judged.py", "python")
    opened.notify(**change(uri, 2, "fresh", (0, 4), (0, 7)))
    opened.notify(**change(uri, 3, "fresh", (1, 4), (1, 7)))
    position = {"line": 2, "character": 15}
    id_, other = opened.new_id(), opened.new_id()
    params = {"textDocument": {"uri": uri, "version": 3}, "position": position}
    messages = [
        {"id": id_, "method": NEXT_EDIT, "params": params},
        {
            "id": other,
            "method": "textDocument/inlineCompletion",
            "params": {**params, "context": {"triggerKind": 1}},
        },
    ]
    from .conftest import frame

    opened.write(frame(*messages))
    # Whether a tiny random model accepts the edit is open; both requests are answered.
    assert len(opened.answer(id_)["result"]["edits"]) <= 1
    assert "items" in opened.answer(other)["result"]


def test_there_are_no_edits_in_private_files_or_if_the_option_is_off(
    launch: Callable[..., Process], tmp_path: Path
) -> None:
    client = launch().client
    client.start(options={"next_edit": "off"})
    client.open(TEXT, URI, "python")
    rename(client)
    assert ask(client, 2) == []
    client.notify("workspace/didChangeConfiguration", {"settings": {"mercury": {"next_edit": True}}})
    assert len(ask(client, 2)) == 1
    private = client.open(TEXT, "file:///w/.env", "python")
    rename(client, private)
    assert ask(client, 2, private) == []


def test_during_a_snooze_only_manual_requests_have_edits(launch: Callable[..., Process]) -> None:
    client = launch().client
    client.start()
    client.open(TEXT, URI, "python")
    rename(client)
    client.ask("workspace/executeCommand", {"command": "mercury.snooze", "arguments": [5]})
    assert ask(client, 2) == []
    assert len(ask(client, 2, trigger=1)) == 1


def test_an_edit_is_offered_as_a_code_action(launch: Callable[..., Process]) -> None:
    client = launch().client
    offered = client.start(ACTIONS)
    assert offered["codeActionProvider"]["codeActionKinds"] == ["refactor.rewrite"]
    client.open(TEXT, URI, "python")
    rename(client)
    point = {"line": 2, "character": 0}
    params = {
        "textDocument": {"uri": URI},
        "range": {"start": point, "end": point},
        "context": {"diagnostics": []},
    }
    (action,) = client.ask("textDocument/codeAction", params)["result"]
    assert action["title"] == "Apply next edit in line 2: count → amount"
    assert [edit["newText"] for edit in action["edit"]["changes"][URI]] == ["amount"]
    for context in ({"triggerKind": 2}, {"only": ["source.organizeImports"]}):
        other = {**params, "context": {"diagnostics": [], **context}}
        assert client.ask("textDocument/codeAction", other)["result"] == []


def test_a_client_that_draws_next_edits_is_offered_no_code_action(launch: Callable[..., Process]) -> None:
    drawing = {**ACTIONS, "experimental": {"mercury": {"nextEdit": True}}}
    assert "codeActionProvider" not in launch().client.initialize(drawing)
