"""Over stdio, with a hosted model for next edits: the edits, the text that leaves the machine, and the status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.servers.hosted_server import WAIT, goes_on, hosting, refuse, whole

from mercury_lsp.models.selection import config_file

from ..conftest import INLINE, Client, Process, change, frame

Launch = Callable[..., Process]
KEY = "sk-test-123-secret-key"
TEXT = "def area(width):\r\n    '''é𝔘''' ; return width\r\n\r\nprint(area(1))\r\n"
ANSWER = "```\ndef area(width, height):\n    '''é𝔘''' ; return width * height\n\nprint(area(1, 2))\n```"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MERCURY_API_KEY", KEY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def write_user_settings(**options: object) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text(json.dumps(options))


def ask(client: Client, uri: str, version: int, line: int = 0) -> list[dict[str, Any]]:
    params = {
        "textDocument": {"uri": uri, "version": version},
        "position": {"line": line, "character": 0},
        "context": {"triggerKind": 2},
    }
    edits: list[dict[str, Any]] = client.ask("textDocument/copilotInlineEdit", params)["result"]["edits"]
    return edits


def open_and_edit(client: Client, uri: str) -> None:
    """Open a document and add a parameter to its function."""
    client.open(TEXT, uri, "python")
    client.notify(**change(uri, 2, ", height", (0, 14), (0, 14)))


def test_the_edits_of_one_hosted_answer_are_offered_one_after_the_other(launch: Launch) -> None:
    with hosting(whole(ANSWER)) as hosted:
        write_user_settings(next_edit="hosted", remote_url=hosted.url, remote_model="far")
        client = launch().client
        client.start(INLINE)
        uri = "file:///home/user42/w/a.py"
        open_and_edit(client, uri)
        expected = [(" * height", 1, 28), (", 2", 3, 12)]
        for version, (text, line, character) in enumerate(expected, 2):
            (edit,) = ask(client, uri, version)
            assert edit["text"] == text
            place = {"line": line, "character": character}
            assert edit["range"] == {"start": place, "end": place}
            client.notify(**change(uri, version + 1, text, (line, character), (line, character)))
        assert len(hosted.seen) == 1 and "user42" not in hosted.seen[0]["raw"]
        status = client.ask("mercury/status", None)["result"]
        assert status["remote"]["mode"] == "off" and status["remote"]["host"].startswith("127.0.0.1")
        assert (
            "recent edits and the lines around the cursor are sent to 127.0.0.1" in status["remote"]["told"]
        )
        assert client.ask("mercury/documentDigest", {"textDocument": {"uri": uri}})["result"][
            "characters"
        ] == len(TEXT) + len(", height * height, 2")


def test_the_status_reports_a_refused_key_and_local_edits_continue(launch: Launch) -> None:
    with hosting(refuse(401)) as hosted:
        write_user_settings(next_edit="hosted", remote_url=hosted.url)
        client = launch().client
        client.start(INLINE)
        uri = "file:///w/a.py"
        open_and_edit(client, uri)
        assert ask(client, uri, 2) == [] and hosted.seen
        told = client.ask("mercury/status", None)["result"]["remote"]["told"]
        assert "in vain" in told and "refuses the key" in told and KEY not in told
        uri = client.open(TEXT, "file:///w/b.py", "python")
        client.notify(**change(uri, 2, "size", (0, 9), (0, 14)))
        (edit,) = ask(client, uri, 2)
        assert edit["text"] == "size"
        assert client.messages() == []


def test_private_and_ignored_files_are_never_sent(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("ignored.py\n", encoding="utf-8")
    with hosting(whole(ANSWER)) as hosted:
        write_user_settings(next_edit="hosted", remote_url=hosted.url)
        client = launch().client
        client.start(INLINE, root=tmp_path.as_uri())
        for name in ("ignored.py", ".env", "credentials.json"):
            uri = (tmp_path / name).as_uri()
            open_and_edit(client, uri)
            assert ask(client, uri, 2) == [] and not hosted.seen
        uri = (tmp_path / "a.py").as_uri()
        open_and_edit(client, uri)
        assert len(ask(client, uri, 2)) == 1 and len(hosted.seen) == 1


def test_nothing_is_sent_unless_the_users_own_settings_file_allows_it(launch: Launch) -> None:
    with hosting(whole(ANSWER)) as hosted:
        write_user_settings(remote_url=hosted.url)
        client = launch().client
        client.start(INLINE, options={"next_edit": "hosted"})
        uri = "file:///w/a.py"
        open_and_edit(client, uri)
        assert ask(client, uri, 2) == [] and not hosted.seen


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("workspace/didChangeConfiguration", {"settings": {"mercury": {"next_edit": "off"}}}),
        ("textDocument/didClose", {"textDocument": {"uri": "file:///w/a.py"}}),
    ],
)
def test_a_request_is_aborted_if_its_option_is_turned_off_or_its_document_closed(
    launch: Launch, method: str, params: dict[str, Any]
) -> None:
    with hosting(goes_on("```")) as hosted:
        write_user_settings(next_edit="hosted", remote_url=hosted.url)
        client = launch().client
        client.start(INLINE)
        uri = "file:///w/a.py"
        open_and_edit(client, uri)
        id_, place = client.new_id(), {"line": 0, "character": 0}
        document = {"uri": uri, "version": 2}
        asked = {"textDocument": document, "position": place, "context": {"triggerKind": 1}}
        client.write(frame({"id": id_, "method": "textDocument/copilotInlineEdit", "params": asked}))
        assert hosted.asked.wait(WAIT)
        client.notify(method, params)
        assert client.answer(id_)["result"]["edits"] == []
        assert hosted.left.wait(WAIT) and len(hosted.seen) == 1
        assert client.messages() == [] and "took longer" not in str(client.told)


def test_the_status_says_that_remote_url_is_missing(launch: Launch) -> None:
    write_user_settings(next_edit="hosted")
    client = launch().client
    client.start(INLINE)
    open_and_edit(client, "file:///w/a.py")
    assert ask(client, "file:///w/a.py", 2) == []
    told = client.ask("mercury/status", None)["result"]["remote"]["told"]
    assert "No hosted model is asked for the next edit. The option remote_url is needed" in told
