"""Tests of the model selection: the order of its sources, and errors in the user's file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from mercury_lsp.config import Config
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.models.selection import (
    ModelChoice,
    UserConfigError,
    choose_model,
    config_file,
    select_model,
    selected_model,
)
from mercury_lsp.session.session import Session


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MERCURY_MODEL", raising=False)
    return tmp_path


def write(content: str | bytes) -> None:
    config_file().parent.mkdir(exist_ok=True)
    config_file().write_bytes(content if isinstance(content, bytes) else content.encode())


def test_the_environment_overrides_the_setting_and_the_setting_the_selection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose_model() == choose_model(Config().model) == ModelChoice("small", "default")
    select_model("mini")
    assert choose_model() == ModelChoice("mini", "mercury-lsp models select")
    assert choose_model("small") == ModelChoice("small", "the setting model")
    monkeypatch.setenv("MERCURY_MODEL", "/m")
    assert choose_model() == choose_model("small") == ModelChoice("/m", "MERCURY_MODEL")
    monkeypatch.setenv("MERCURY_MODEL", "")
    select_model(None)
    assert choose_model() == ModelChoice("small", "default")


@pytest.mark.integration
def test_loading_a_model_follows_the_selection(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    assert checkpoint.find_model("auto") == checkpoint.find_model() == checkpoint.SHIPPED / "small"
    select_model(str(tiny_model))
    assert checkpoint.find_model("auto") == tiny_model
    assert checkpoint.find_model("small") == checkpoint.SHIPPED / "small"
    monkeypatch.setenv("MERCURY_MODEL", "mini")
    assert checkpoint.find_model("small") == checkpoint.SHIPPED / "mini"
    assert checkpoint.locate_model("small") == checkpoint.SHIPPED / "small"


def test_the_session_reports_the_name_of_the_selected_model(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    assert session.model == "small" and session.config == Config()
    select_model("/models/mine")
    assert session.model == "mine"
    session.configure({"model": "mini"})
    assert session.model == "mini"
    session.configure({"model": "auto"})  # VS Code sends this value for an unset setting
    assert session.model == "mine" and not session.problems


WRONG = {
    "empty": "",
    "text": "small",
    "list": '["small"]',
    "number": '{"model": 3}',
    "blank": '{"model": " "}',
    "deep": "[" * 100_000,
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_broken_file_gives_one_problem_and_the_default_model(
    content: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write(content)
    found = choose_model()
    assert (found.model, found.source) == ("small", "default")
    assert str(config_file()) in found.problem and found.problem.endswith(".")
    assert "\n" not in found.problem and len(found.problem) < 300
    assert checkpoint.find_model() == checkpoint.SHIPPED / "small"
    assert [record.message for record in caplog.records] == [found.problem]
    session = Session()
    assert session.problems == (found.problem,) and session.config == Config()
    session.configure({"max_tokens": "many"})
    assert len(session.problems) == 2
    session.configure({"model": "mini"})  # the setting overrides the file's model, but not its other options
    assert set(session.problems) <= {found.problem}


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="all files can be read")
def test_an_unreadable_file_gives_one_problem() -> None:
    write("{}")
    config_file().chmod(0)
    assert "cannot be read" in choose_model().problem


def test_a_folder_in_place_of_the_file_gives_one_problem() -> None:
    config_file().mkdir(parents=True)
    assert "cannot be read" in choose_model().problem
    with pytest.raises(UserConfigError):
        select_model("mini")


def test_selecting_keeps_the_other_content_of_the_file() -> None:
    write('{"other": [1, "é"], "model": "mini"}')
    select_model("small")
    assert json.loads(config_file().read_bytes()) == {"other": [1, "é"], "model": "small"}
    select_model(None)
    assert json.loads(config_file().read_bytes()) == {"other": [1, "é"]}
    assert selected_model() is None
    assert [path.name for path in config_file().parent.iterdir()] == ["config.json"]


def test_selecting_does_not_overwrite_a_broken_file() -> None:
    write("mine, but broken")
    with pytest.raises(UserConfigError, match="is not JSON"):
        select_model("small")
    assert config_file().read_text() == "mine, but broken"


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_CONFIG_HOME": "/c"}, "/c/mercury-lsp/config.json"),
        ("linux", {"HOME": "/h"}, "/h/.config/mercury-lsp/config.json"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/mercury-lsp/config.json"),
        ("win32", {"APPDATA": "/a"}, "/a/mercury-lsp/config.json"),
    ],
)
def test_the_path_of_the_file_follows_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert config_file().as_posix() == expected
