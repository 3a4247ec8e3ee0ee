"""What a real server sends to an editor in addition to suggestions: the status, drafts and statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mercury_lsp.engine.api import UNDECIDED

from .conftest import INLINE, WORD, Client, Message, Process, at, change, frame

Launch = Callable[..., Process]
ALL: Message = {**INLINE, "experimental": {"mercury": {"status": True, "drafts": True}}}
TEXT = "some words and "


def told(client: Client, method: str) -> list[Any]:
    return [message["params"] for message in client.told if message["method"] == method]


def command(client: Client, name: str, *arguments: object) -> Message:
    return client.ask("workspace/executeCommand", {"command": name, "arguments": arguments})


def test_the_status_is_sent_while_the_model_loads_and_after_each_answer(launch: Launch) -> None:
    server = launch()
    client = server.client
    client.start(ALL, {"max_tokens": 8, "anticipate": False})
    client.until(
        lambda: told(client, "mercury/status")[-1:] and told(client, "mercury/status")[-1]["state"] == "ready"
    )
    first, ready = told(client, "mercury/status")[0], told(client, "mercury/status")[-1]
    assert first["state"] == "loading" and 0 <= first["fraction"] <= 1
    assert ready == {
        "state": "ready",
        "model": "word",
        "device": ready["device"],
        "median_ms": None,
        "last": None,
    }
    assert ready["device"] in ("cpu", "cuda", "mps")

    before = len(told(client, "mercury/status"))
    assert client.complete(client.open(TEXT), 0, 15)
    client.until(lambda: len(told(client, "mercury/status")) > before)
    (answered,) = told(client, "mercury/status")[before:]
    last = answered["last"]
    assert (
        last == {"ms": answered["median_ms"], "shown": True, "recalled": False, "reason": None}
        and last["ms"] > 0
    )

    assert client.complete(client.open("x", "file:///w/.env"), 0, 1) == []
    client.until(lambda: len(told(client, "mercury/status")) > before + 1)
    refused = told(client, "mercury/status")[-1]
    assert refused["last"]["shown"] is False and refused["last"]["reason"].startswith(
        "Nothing is suggested in this"
    )
    assert refused["median_ms"] == answered["median_ms"]
    assert client.ask("mercury/status", None)["result"] == refused
    client.write(frame({"id": "without parameters", "method": "mercury/status"}))
    assert client.answer("without parameters")["result"] == refused
    assert server.end() == 0


def test_the_status_shows_a_snooze_its_end_and_that_suggestions_are_off(launch: Launch) -> None:
    client = launch().client
    client.start({**ALL, "workspace": {}}, {"max_tokens": 8})
    until = command(client, "mercury.snooze", 5)["result"]
    client.until(lambda: told(client, "mercury/status")[-1]["state"] == "snoozed")
    assert told(client, "mercury/status")[-1]["until"] == until
    command(client, "mercury.resume")
    client.until(lambda: told(client, "mercury/status")[-1]["state"] == "ready")
    assert "until" not in told(client, "mercury/status")[-1]
    # This snooze ends without a command.
    command(client, "mercury.snooze", 0.001)
    client.until(lambda: "snoozed" in [one["state"] for one in told(client, "mercury/status")[-2:]])
    client.until(lambda: told(client, "mercury/status")[-1]["state"] == "ready")
    client.notify("workspace/didChangeConfiguration", {"settings": {"mercury": {"enabled": False}}})
    client.until(lambda: told(client, "mercury/status")[-1]["state"] == "off")


def test_the_status_shows_that_a_model_cannot_be_loaded(launch: Launch, tmp_path: Path) -> None:
    client = launch(tmp_path).client
    client.start(ALL)
    client.until(lambda: told(client, "mercury/status")[-1]["state"] == "failed")
    assert told(client, "mercury/status")[-1]["message"]


def test_a_client_without_the_capabilities_gets_no_notifications_but_may_request_the_status(
    launch: Launch,
) -> None:
    client = launch().client
    client.start(options={"max_tokens": 8})
    assert client.complete(client.open(TEXT), 0, 15)
    status = client.ask("mercury/status", None)["result"]
    assert status["state"] == "ready" and status["last"]["shown"]
    assert told(client, "mercury/status") == told(client, "mercury/draft") == []


@pytest.mark.parametrize("anticipate", [False, True])
def test_drafts_are_sent_until_the_suggestion_is_complete(launch: Launch, anticipate: bool) -> None:
    client = launch().client
    client.start(ALL, {"max_tokens": 8, "anticipate": anticipate})
    for number in range(20):
        uri = client.open("some words an", f"file:///w/b{number}.txt")
        asked = {"id": client.new_id(), "method": "textDocument/inlineCompletion", "params": at(uri, 0, 15)}
        client.write(frame(change(uri, 2, "d ", (0, 13), (0, 13)), asked))
        assert client.answer(asked["id"])["result"]["items"]
        client.ask("mercury/status", None)
        # A whole job may end before the event loop gets its turn; then no draft is sent.
        if told(client, "mercury/draft"):
            break
    client.until(lambda: told(client, "mercury/draft")[-1:] and told(client, "mercury/draft")[-1]["done"])
    *drafts, end = told(client, "mercury/draft")
    place = {"textDocument": {"uri": uri, "version": 2}, "position": {"line": 0, "character": 15}}
    assert drafts and end == {**place, "committed": "", "draft": "", "pass": drafts[-1]["pass"], "done": True}
    for draft in drafts:
        assert draft == {
            **place,
            "committed": draft["committed"],
            "draft": draft["draft"],
            "pass": draft["pass"],
            "done": False,
        }
        assert (draft["committed"] + draft["draft"].rstrip(UNDECIDED)) in (WORD, "")
    assert [one["pass"] for one in drafts] == sorted({one["pass"] for one in drafts})
    # The prefetched continuation is not sent as a draft: the client has no document with its text.
    while client.ask("mercury/work", None)["result"]["busy"]:
        pass
    client.ask("mercury/status", None)
    assert told(client, "mercury/draft") == [*drafts, end]


def test_no_drafts_are_sent_unless_the_client_requests_them(launch: Launch) -> None:
    client = launch().client
    wanted = {"mercury": {"status": True, "drafts": False}}
    client.start({**ALL, "experimental": wanted}, {"max_tokens": 8, "drafts": True})
    # An editor's own key in the section does not count as an unknown setting.
    assert client.messages() == []
    assert client.complete(client.open(TEXT), 0, 15)
    client.ask("mercury/status", None)
    assert told(client, "mercury/draft") == []


def test_the_statistics_command_returns_the_figures_of_the_history(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first = launch()
    first.client.start(options={"max_tokens": 8})
    assert first.client.complete(first.client.open(TEXT), 0, 15)
    # The end of the server writes the history.
    assert first.end() == 0
    client = launch().client
    client.start()
    for arguments in ((), (1,), (7.0,)):
        figures = command(client, "mercury.stats", *arguments)["result"]
        assert figures["all"]["requests"] == figures["by_language"]["plaintext"]["shown"] == 1
    for wrong in (0, "x", True, 1.5):
        assert command(client, "mercury.stats", wrong)["error"]["code"] == -32602
    (tmp_path / "mercury-lsp" / "history.sqlite3").write_bytes(b"this is no database" * 100)
    assert command(client, "mercury.stats")["error"]["code"] == -32603


def test_removed_options_cause_one_message(launch: Launch) -> None:
    gone = {"mode": "auto", "history": True, "candidates": 3, "remote_timeout_ms": 2000, "remote_api": "fim"}
    client = launch().client
    client.start(INLINE, {**gone, "drafts": True, "next_edit": True})
    assert client.complete(client.open(TEXT), 0, 15)
    client.notify("workspace/didChangeConfiguration", {"settings": {"mercury": gone}})
    (message,) = [one for one in client.messages() if "next_edit" in one]
    assert all(f"'{name}'" in message for name in gone) and "drafts" not in message
