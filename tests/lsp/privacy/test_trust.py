"""Settings from a client that run programs or name hosts; eglot, for example, sends those of a repository's file."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.servers.hosted_server import hosting, whole

from mercury_lsp.models.selection import config_file

from ..conftest import COMMAND, INLINE, WORD, Client, Process

Launch = Callable[..., Process]
ASKING: dict[str, Any] = {**INLINE, "window": {"workDoneProgress": True, "showMessage": {}}}
# Seconds to wait for an effect that must not happen.
SILENCE = 0.5


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("PRIVATE", "of-nobodys-business")


def hostile_settings(url: str, mark: Path) -> dict[str, Any]:
    """Return the settings of a hostile repository, which run a program and send text and its output to a host."""
    script = f"touch {mark}; echo key"
    return {
        "remote": "always",
        "remote_url": url,
        "remote_key_command": ["/bin/sh", "-c", script],
        "max_tokens": 8,
    }


def typed(client: Client) -> list[str]:
    return [item["insertText"] for item in client.complete(client.open("some words and "), 0, 15)]


@pytest.mark.parametrize("way", ["first", "pulled", "pushed"])
@pytest.mark.parametrize("asks", [False, True])
def test_settings_from_a_client_have_no_effect_unless_the_user_allows_them(
    way: str, asks: bool, launch: Launch, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    with hosting(whole("from afar")) as hosted:
        settings = hostile_settings(hosted.url, mark)
        capabilities = ASKING if asks else INLINE
        if way == "pulled":
            capabilities = {**capabilities, "workspace": {"configuration": True}}
        client = launch(settings=settings).client
        client.start(
            capabilities, options={**settings, "max_tokens": 8} if way == "first" else {"max_tokens": 8}
        )
        if way == "pushed":
            client.notify("workspace/didChangeConfiguration", {"settings": {"mercury": settings}})
        client.until(lambda: any("Not used until you allow it" in m for m in shown(client)))
        assert typed(client) == [WORD]
        time.sleep(SILENCE)
        assert not mark.exists() and not hosted.seen
        assert len(client.questions) == asks
        (told,) = shown(client)
        assert str(config_file()) in told and "remote_key_command" in told
        status = client.ask("mercury/status", None)["result"]
        assert status["device"] != "remote"


@pytest.mark.skipif(sys.platform == "win32", reason="runs a shell")
def test_allowed_settings_take_effect_and_the_question_is_not_repeated(
    launch: Launch, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    with hosting(whole("from afar")) as hosted:
        settings = hostile_settings(hosted.url, mark)
        first = launch().client
        first.choice = {"title": "Allow"}
        first.initialize(ASKING, options=settings)
        first.notify("initialized", {})
        first.until(lambda: first.ask("mercury/status", None)["result"]["device"] == "remote")
        assert typed(first) == ["from afar"] and mark.exists()
        (question,) = first.questions
        assert [action["title"] for action in question["actions"]] == ["Allow", "Don't allow"]
        for part in (hosted.url, "/bin/sh", f"touch {mark}; echo key", "MERCURY_API_KEY"):
            assert part in question["message"]
        second = launch().client
        second.start(INLINE, options=settings)
        assert typed(second) == ["from afar"] and not second.questions and shown(second) == []
        third = launch().client
        third.start(ASKING, options={**settings, "remote_key_command": [], "remote_key_env": "PRIVATE"})
        assert typed(third) == [WORD] and len(third.questions) == 1
        assert "of-nobodys-business" not in str([seen["headers"] for seen in hosted.seen])


def test_a_refusal_is_remembered(launch: Launch, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    settings = hostile_settings("http://127.0.0.1:9/v1", mark)
    for questions in (1, 0):
        client = launch().client
        client.choice = {"title": "Don't allow"}
        client.start(ASKING, options=settings)
        assert typed(client) == [WORD] and not mark.exists()
        assert len(client.questions) == questions and shown(client) == []


def test_settings_of_the_command_line_and_the_users_own_file_need_no_permission(
    launch: Launch, tmp_path: Path
) -> None:
    with hosting(whole("from afar")) as hosted:
        given = {"remote": "always", "remote_url": hosted.url}
        file = tmp_path / "settings.json"
        file.write_text(json.dumps({"mercury": given}))
        client = launch(command=[*COMMAND, "--settings", str(file)]).client
        client.start(options={"remote": "off"})
        assert typed(client) == ["from afar"] and not client.questions
        config_file().parent.mkdir(parents=True)
        config_file().write_text(json.dumps(given))
        client = launch().client
        client.start()
        assert typed(client) == ["from afar"] and not client.questions


def test_a_checkpoint_in_the_workspace_is_not_loaded_without_permission(
    launch: Launch, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    os.symlink(tiny_model, tmp_path / "project" / "mini")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    client = launch("").client
    client.start(options={"model": "./mini"}, root=(tmp_path / "project").as_uri())
    assert client.ask("mercury/status", None)["result"]["model"] == "small"
    assert "./mini" in shown(client)[0]


def test_a_checkpoint_is_unloaded_when_its_folder_becomes_part_of_the_workspace(
    launch: Launch, tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "opened"
    shutil.copytree(tiny_model, folder / "mine")
    client = launch("").client
    client.start(options={"model": str(folder / "mine")})
    assert client.ask("mercury/status", None)["result"]["model"] == "tiny"
    added = {"uri": folder.as_uri(), "name": "opened"}
    client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [added], "removed": []}})
    told = shown(client)
    assert len(told) == 1 and str(folder / "mine") in told[0]
    client.until(lambda: client.ask("mercury/status", None)["result"]["model"] == "small")


def shown(client: Client) -> list[str]:
    return [m for m in client.messages() if "allow" in m.lower()]
