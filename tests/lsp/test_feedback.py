"""Outcomes of suggestions, as clients report them to a real server and as the history records them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.models.tiny_models import save_pointing, suggesting
from torch import Tensor

from mercury_lsp.engine.tokenizer import Tokenizer
from mercury_lsp.telemetry.store import history_file, read_events

from .conftest import WORD, Client, Message, Process, at, change, frame

Launch = Callable[..., Process]
URI = "file:///w/secret_name.txt"
TEXT = "some words and "


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the history file of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return history_file()


@pytest.fixture(scope="session")
def model_of_two(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model like `model` that suggests two words: each row's embedding points at the next token."""

    def pointing(tokenizer: Tokenizer, unit: Tensor) -> dict[int, Tensor]:
        return suggesting(tokenizer, unit, WORD, " more")

    return save_pointing(tmp_path_factory.mktemp("two"), "two", tiny_model, pointing)


def command(client: Client, name: str, *arguments: object) -> Message:
    params: Message = {"command": name}
    return client.ask("workspace/executeCommand", params | ({"arguments": arguments} if arguments else {}))


def outcomes(state: Path) -> list[tuple[str, int]]:
    return [(event.outcome, event.accepted) for event in read_events(file=state)]


def insert(client: Client, version: int, character: int, text: str, uri: str = URI) -> None:
    client.write(frame(change(uri, version, text, (0, character), (0, character))))


def stats(*options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mercury_lsp", "stats", *options],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    return done.stdout


def test_the_server_announces_its_commands(launch: Launch) -> None:
    server = launch()
    offered = server.client.initialize()["executeCommandProvider"]["commands"]
    ours = ("accepted", "explain", "snooze", "resume", "stats", "editAccepted", "editDismissed")
    assert offered == [f"mercury.{name}" for name in ours]


def test_each_outcome_is_recorded_and_printed(launch: Launch, state: Path) -> None:
    server = launch()
    client = server.client
    client.start(options={"max_tokens": 8})
    client.open(TEXT, URI)

    # Accepted by its command, sent after the change.
    (item,) = client.complete(URI, 0, 15)
    assert item["command"]["command"] == "mercury.accepted"
    insert(client, 2, 15, WORD)
    assert command(client, "mercury.accepted", *item["command"]["arguments"])["result"] is None
    insert(client, 3, 20, " ")

    # Accepted by a change alone.
    assert client.complete(URI, 0, 21)
    insert(client, 4, 21, WORD)
    insert(client, 5, 26, " ")

    # Rejected: something else is typed.
    assert client.complete(URI, 0, 27)
    insert(client, 6, 27, "q")

    # Partially accepted, as Copilot's clients report it.
    (item,) = client.complete(URI, 0, 28)
    part = {"item": item, "acceptedLength": 2}
    client.notify("textDocument/didPartiallyAcceptCompletion", part)
    insert(client, 7, 28, WORD[:2])
    insert(client, 8, 30, "!")

    # Typed key by key, with a request after each key.
    assert client.complete(URI, 0, 31)
    for number, key in enumerate(WORD):
        insert(client, 9 + number, 31 + number, key)
        if number < len(WORD) - 1:
            (item,) = client.complete(URI, 0, 32 + number)
            assert item["insertText"] == WORD[number + 1 :]
    assert server.end() == 0

    kinds = [event.outcome for event in read_events(file=state)]
    assert kinds == ["accepted", "accepted", "rejected", "partly", "typed", *["continued"] * 4]
    first = read_events(file=state)[0]
    assert (first.language, first.editor, first.model, first.accepted) == ("plaintext", "", "word", 5)
    assert first.latency_ms > 0 and first.tokens == 2 and first.passes > 0 and not first.recalled
    assert all(event.recalled for event in read_events(file=state)[5:])

    figures = json.loads(stats("--json"))["all"]
    assert {
        name: figures[name] for name in ("requests", "shown", "accepted", "partly", "typed", "rejected")
    } == {
        "requests": 9,
        "shown": 5,
        "accepted": 2,
        "partly": 1,
        "typed": 1,
        "rejected": 1,
    }
    assert figures["characters_saved"] == 12 and figures["acceptance"] == 0.6
    printed = stats("--days", "1")
    assert "plaintext" in printed and "60%" in printed
    assert all("secret_name" not in text and WORD not in text for text in (printed, json.dumps(figures)))
    for file in state.parent.iterdir():
        content = file.read_bytes()
        assert b"secret_name" not in content and b"some words" not in content
    assert stats("--clear") == "Deleted 9 records.\n"
    assert stats().startswith("No suggestions recorded yet")


def test_accepting_one_word_of_a_longer_suggestion_is_recorded_as_partly(
    launch: Launch, state: Path, model_of_two: Path
) -> None:
    server = launch(model=model_of_two)
    client = server.client
    client.start()
    client.open(TEXT, URI)
    (item,) = client.complete(URI, 0, 15)
    assert item["insertText"] == f"{WORD} more"
    insert(client, 2, 15, WORD)
    (item,) = client.complete(URI, 0, 20)
    assert item["insertText"] == " more"
    insert(client, 3, 20, "#")
    assert server.end() == 0
    assert outcomes(state) == [("partly", len(WORD)), ("continued", 0)]


def test_a_menu_entry_has_the_accepted_command_too(launch: Launch, state: Path) -> None:
    server = launch()
    client = server.client
    client.start({"window": {"workDoneProgress": True}})
    client.open("some words and v", URI)
    answer = client.ask("textDocument/completion", at(URI, 0, 16))["result"]
    (item,) = answer["items"]
    assert item["command"]["command"] == "mercury.accepted"
    edit = item["textEdit"]
    places = edit["range"]
    assert places["start"]["character"] == 15
    # The typed letter is the start of the word.
    assert edit["newText"] == WORD
    client.write(frame(change(URI, 2, edit["newText"], (0, 15), (0, 16))))
    assert server.end() == 0
    assert outcomes(state) == [("accepted", len(WORD) - 1)]


def test_suggestions_that_a_copilot_client_does_not_report_as_shown_are_unseen(
    launch: Launch, state: Path
) -> None:
    server = launch()
    client = server.client
    client.start()
    client.open(TEXT, URI)
    (item,) = client.complete(URI, 0, 15)
    client.notify("textDocument/didShowCompletion", {"item": item})
    insert(client, 2, 15, "q")
    client.complete(URI, 0, 16)
    insert(client, 3, 16, "q")
    client.complete(URI, 0, 17)
    client.notify("textDocument/didFocus", {"textDocument": {"uri": "file:///w/b.txt"}})
    for broken in (None, [], {"item": None}, {"item": {"command": {"arguments": [1]}}}, {"textDocument": 3}):
        for name in ("didShowCompletion", "didPartiallyAcceptCompletion", "didFocus"):
            client.notify(f"textDocument/{name}", broken)
    assert client.is_served()
    assert server.end() == 0
    assert [kind for kind, _ in outcomes(state)] == ["rejected", "unseen", "unseen", "unseen"]


def test_two_servers_write_to_one_history(launch: Launch, state: Path) -> None:
    servers = [launch(), launch()]
    for server in servers:
        server.client.start()
        server.client.open(TEXT, URI)
    for version in range(2, 12):
        for server in servers:
            server.client.complete(URI, 0, 13 + version)
            insert(server.client, version, 13 + version, "q")
    for server in servers:
        assert server.end() == 0
    assert outcomes(state) == [("rejected", 0)] * 20


def test_history_days_0_writes_no_history(launch: Launch, state: Path) -> None:
    server = launch()
    client = server.client
    client.start(options={"history_days": 0})
    client.open(TEXT, URI)
    (item,) = client.complete(URI, 0, 15)
    command(client, "mercury.accepted", *item["command"]["arguments"])
    assert server.end() == 0
    assert not state.parent.exists()


def test_a_damaged_history_causes_one_warning_and_suggestions_continue(launch: Launch, state: Path) -> None:
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no database" * 999)
    server = launch()
    client = server.client
    client.start()
    client.open(TEXT, URI)
    assert client.complete(URI, 0, 15)
    insert(client, 2, 15, "q")
    assert client.complete(URI, 0, 16)
    insert(client, 3, 16, "q")
    assert client.is_served()
    client.until(lambda: any("damaged" in m["params"]["message"] for m in logged(client)))
    assert server.end() == 0
    assert len(logged(client)) == 1
    assert len(read_events(file=state)) == 3


def logged(client: Client) -> list[Message]:
    return [message for message in client.told if message["method"] == "window/logMessage"]


def why(client: Client, *arguments: object) -> str:
    return str(command(client, "mercury.explain", *arguments)["result"])


def place(line: int, character: int) -> Message:
    return {"line": line, "character": character}


def test_explain_describes_the_outcome_of_the_last_request(launch: Launch) -> None:
    client = launch().client
    client.start(options={"show_likelihood": 0})
    assert why(client) == "Nothing has been asked for yet."
    client.open(TEXT, URI)
    client.complete(URI, 0, 15)
    assert why(client) == "Something is suggested there: a text of 5 characters."


@pytest.mark.parametrize(
    ("uri", "options", "expected"),
    [
        ("file:///w/.env", {}, "hold secrets"),
        (URI, {"disabled_languages": ["plaintext"]}, "switched off for plaintext"),
        (URI, {"enabled": False}, "suggestions are switched off"),
        ("file:///w/none.txt", {}, "does not have this document"),
    ],
)
def test_explain_says_why_a_document_has_no_suggestions(
    launch: Launch, uri: str, options: dict[str, Any], expected: str
) -> None:
    client = launch().client
    client.initialize(options=options)
    client.notify("initialized", {})
    if not uri.endswith("none.txt"):
        client.open(TEXT, uri)
    assert expected in why(client, uri, place(0, 15))
    assert expected in why(client, at(uri, 0, 15))


def test_explain_says_that_a_suggestion_was_too_unlikely(launch: Launch, tiny_model: Path) -> None:
    """With random weights no suggestion is likely enough."""
    client = launch(model=tiny_model).client
    client.start(options={"show_likelihood": 0.9, "max_tokens": 4})
    client.open(TEXT, URI)
    for asked in (False, True):
        told = why(client, URI, place(0, 15))
        assert "not sure enough" in told or "nothing of what the model wrote fits" in told, asked
        unasked = at(URI, 0, 15)
        unasked["context"] = {"triggerKind": 2}
        client.ask("textDocument/inlineCompletion", unasked)
        assert why(client) == told


def test_explain_says_that_the_model_could_not_be_loaded(launch: Launch, tmp_path: Path) -> None:
    client = launch(model=tmp_path).client
    client.initialize()
    client.notify("initialized", {})
    client.until(lambda: any(m["method"] == "window/showMessage" for m in client.told))
    client.open(TEXT, URI)
    assert "could not be loaded" in why(client, URI, place(0, 15))


def test_explain_says_that_a_request_was_superseded_or_cancelled(launch: Launch) -> None:
    client = launch().client
    client.start(options={"debounce_ms": 2000})
    client.open(TEXT, URI)
    older, newer = client.new_id(), client.new_id()
    client.write(
        frame({"id": older, "method": "textDocument/inlineCompletion", "params": at(URI, 0, 15)})
        + frame({"id": newer, "method": "textDocument/inlineCompletion", "params": at(URI, 0, 14)})
    )
    assert client.answer(older)["result"]["items"] == []
    assert why(client) == "A newer request came before this one was answered."
    client.answer(newer)
    cancelled = client.new_id()
    client.write(
        frame({"id": cancelled, "method": "textDocument/inlineCompletion", "params": at(URI, 0, 13)})
        + frame({"method": "$/cancelRequest", "params": {"id": cancelled}})
    )
    assert "error" in client.answer(cancelled)
    assert why(client) == "The editor withdrew its request before it was answered."


def test_during_a_snooze_there_are_no_automatic_suggestions_and_no_prefetches(launch: Launch) -> None:
    client = launch().client
    client.start()
    until = command(client, "mercury.snooze", 30)["result"]
    left = datetime.fromisoformat(until) - datetime.now().astimezone()
    assert 25 * 60 < left.total_seconds() <= 30 * 60
    client.open(TEXT, URI)
    begun = client.ask("mercury/work", None)["result"]["begun"]
    insert(client, 2, 15, "x ")
    unasked = at(URI, 0, 17)
    unasked["context"] = {"triggerKind": 2}
    assert client.ask("textDocument/inlineCompletion", unasked)["result"] == {"items": []}
    assert "snoozed until" in why(client)
    assert client.ask("mercury/work", None)["result"] == {"begun": begun, "busy": False}
    # A manual request is answered.
    assert client.complete(URI, 0, 17)
    assert "snoozed until" in why(client, URI, place(0, 17))
    assert client.ask("mercury/work", None)["result"]["begun"] == begun + 1
    assert command(client, "mercury.resume")["result"] is None
    assert client.ask("textDocument/inlineCompletion", unasked)["result"]["items"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mercury.accepted", []),
        ("mercury.accepted", [3]),
        ("mercury.accepted", ["a", "b"]),
        ("mercury.explain", [URI]),
        ("mercury.explain", [URI, {"line": -1, "character": 0}]),
        ("mercury.explain", [URI, {"line": "0", "character": 0}]),
        ("mercury.explain", [{"uri": URI}]),
        ("mercury.explain", [None]),
        ("mercury.explain", [URI, place(0, 0), 1]),
        ("mercury.snooze", [0]),
        ("mercury.snooze", [True]),
        ("mercury.snooze", ["10"]),
        ("mercury.snooze", [1e9]),
        ("mercury.snooze", [[1]]),
        ("mercury.resume", [1]),
        ("mercury.nonsense", []),
    ],
)
def test_invalid_arguments_of_commands_are_refused(
    client: Client, name: str, arguments: list[object]
) -> None:
    params = {"command": name, "arguments": arguments}
    error = client.ask("workspace/executeCommand", params)["error"]
    assert error["code"] == -32602 and error["message"] and "\n" not in error["message"]
    assert client.is_served()


def test_the_history_is_a_database_with_readable_columns(launch: Launch, state: Path) -> None:
    server = launch()
    server.client.start()
    server.client.open(TEXT, URI, "markdown")
    server.client.complete(URI, 0, 15)
    server.client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert server.end() == 0
    with sqlite3.connect(state) as database:
        rows = database.execute("SELECT language, outcome, shown FROM events").fetchall()
    assert rows == [("markdown", "rejected", 5)]
