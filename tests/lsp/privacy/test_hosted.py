"""Over stdio, with a hosted model: the suggestions, the text that leaves the machine, and the status in the editor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.servers.hosted_server import hosting, refuse, whole

from mercury_lsp.models.selection import config_file

from ..conftest import WORD, Process

Launch = Callable[..., Process]
KEY = "sk-test-123-secret-key"
TEXT = 'token = "ghp_a1B2c3D4a1B2c3D4a1B2c3D4a1B2c3D4a1B2"\nsome words and '


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MERCURY_API_KEY", KEY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write_user_settings(**options: object) -> None:
    """Write the user's own settings file, which may name the host that text is sent to."""
    config_file().parent.mkdir(parents=True)
    config_file().write_text(json.dumps(options))


def test_with_remote_always_the_hosted_model_answers_without_a_local_model(
    launch: Launch, tmp_path: Path
) -> None:
    with hosting(whole("more of them"), refuse(401)) as hosted:
        write_user_settings(remote="always", remote_url=hosted.url, remote_model="far")
        client = launch(tmp_path / "no model").client
        client.start()
        client.open("a document of nobody's business", "file:///home/user42/w/other.txt")
        # Nothing leaves the machine before a request.
        assert not hosted.seen
        uri = client.open(TEXT, "file:///home/user42/w/deep/a.txt")
        assert not hosted.seen
        assert [item["insertText"] for item in client.complete(uri, 1, 15)] == ["more of them"]
        (seen,) = hosted.seen
        assert seen["body"]["prompt"].endswith("\nsome words and ")
        for word in ("ghp_", "user42", "deep", "nobody"):
            assert word not in seen["raw"] + str(seen["headers"])
        status = client.ask("mercury/status", None)["result"]
        assert (status["state"], status["model"], status["device"]) == ("ready", "far", "remote")
        assert status["remote"]["mode"] == "always" and status["remote"]["breaker"] == "closed"
        assert "is sent to 127.0.0.1" in status["remote"]["told"]
        assert client.complete(client.open("others ", "file:///w/b.txt"), 0, 7) == []
        explained = client.ask("workspace/executeCommand", {"command": "mercury.explain", "arguments": []})
        assert "refuses the key" in explained["result"]
        status = client.ask("mercury/status", None)["result"]
        assert "in vain" in status["remote"]["told"] and KEY not in str([client.told, client.answers])
        assert client.complete(client.open("A=", "file:///w/.env"), 0, 2) == []
        assert len(hosted.seen) == 2
        # A refusal by the host is not shown as an error of the server.
        assert client.messages() == []


def test_as_a_fallback_the_hosted_model_is_not_asked_if_the_local_model_is_confident(launch: Launch) -> None:
    with hosting(whole("more of them")) as hosted:
        write_user_settings(remote="fallback", remote_url=hosted.url, max_tokens=8)
        client = launch().client
        client.start()
        uri = client.open(TEXT)
        assert [item["insertText"] for item in client.complete(uri, 1, 15)] == [WORD]
        assert not hosted.seen


def test_ignored_documents_are_completed_locally_and_not_sent(
    launch: Launch, tiny_model: Path, tmp_path: Path
) -> None:
    """The local model is too uncertain, so that every document that may be sent is sent."""
    root = tmp_path / "w"
    root.mkdir()
    (root / ".gitignore").write_text("*.txt\n!shared.txt\n", encoding="utf-8")
    with hosting(whole("more of them")) as hosted:
        write_user_settings(remote="fallback", remote_url=hosted.url, max_tokens=8)
        client = launch(tiny_model).client
        client.start(options={"show_likelihood": 0}, root=root.as_uri())
        for name, sent in (("scratch.txt", 0), ("shared.txt", 1)):
            uri = client.open(TEXT, (root / name).as_uri())
            items = [item["insertText"] for item in client.complete(uri, 1, 15)]
            assert len(hosted.seen) == sent and (items == ["more of them"]) == (sent == 1)
            said = client.ask("workspace/executeCommand", {"command": "mercury.explain", "arguments": []})
            assert "ignored" not in said["result"]


def test_with_remote_always_ignored_documents_have_no_suggestions(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*\n", encoding="utf-8")
    with hosting(whole("more of them")) as hosted:
        write_user_settings(remote="always", remote_url=hosted.url, remote_model="far")
        client = launch(tmp_path / "no model").client
        client.start(root=tmp_path.as_uri())
        uri = client.open(TEXT, (tmp_path / "a.txt").as_uri())
        assert client.complete(uri, 1, 15) == []
        explained = client.ask("workspace/executeCommand", {"command": "mercury.explain", "arguments": []})
        assert "is not sent to a hosted model" in explained["result"] and not hosted.seen


def test_a_failed_fallback_leaves_the_server_ready(launch: Launch, tiny_model: Path) -> None:
    """The local model is too uncertain, so that the hosted model is asked; the local text remains."""
    with hosting(refuse(500)) as hosted:
        write_user_settings(remote="fallback", remote_url=hosted.url, max_tokens=8)
        client = launch(tiny_model).client
        client.start(options={"show_likelihood": 0, "multiline": "never"})
        client.complete(client.open(TEXT), 1, 15)
        assert hosted.seen and client.ask("mercury/status", None)["result"]["state"] == "ready"
