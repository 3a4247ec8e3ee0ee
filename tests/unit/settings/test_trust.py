"""Which settings of a client need the user's word, how they are shown, and how the answers are kept."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from mercury_lsp.config import OPTIONS, Config
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.models.selection import config_file
from mercury_lsp.session.session import Session
from mercury_lsp.trust import (
    GUARDED_OPTIONS,
    Claim,
    ConsentStore,
    comes_from_workspace,
    settings_needing_consent,
    without_claim,
)

URL = "https://far.example/v1"
SENDS = {"remote": "always", "remote_url": URL}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("MERCURY_MODEL", raising=False)
    return tmp_path


def own(**options: object) -> None:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(json.dumps(options))


def test_whatever_runs_a_program_or_names_a_host_or_a_variable_is_guarded() -> None:
    telling = ("command", "url", "env", "program", "host", "path", "file", "folder", "proxy")
    named = {option.name for option in OPTIONS if any(word in option.name for word in telling)}
    named.remove("project_files")  # which names none
    assert named | {"remote", "model", "next_edit"} <= GUARDED_OPTIONS.keys()


@pytest.mark.parametrize(
    ("given", "mine", "claimed"),
    [
        ({}, {}, False),
        ({"max_tokens": 8, "nice": 3}, {}, False),
        (SENDS, {}, True),
        ({"remote": "fallback"}, {}, True),
        ({"remote": "always"}, {"remote_url": URL}, True),  # the user has named a host and uses it at times
        ({"remote": "off", "remote_url": URL, "remote_key_command": ["sh"]}, {}, False),  # nothing is asked
        ({"remote_url": URL, "remote_key_env": "AWS_SECRET_ACCESS_KEY"}, {}, False),
        ({"remote": "off"}, {"remote": "always", "remote_url": URL}, False),  # less is always possible
        (SENDS, SENDS, False),  # VS Code sends what the user's own file says, too
        ({"remote_key_env": "HOME"}, SENDS, True),
        ({"remote_key_command": ["sh", "-c", "x"]}, SENDS, True),
        ({"remote_url": "http://evil.example"}, SENDS, True),
        ({**SENDS, "remote_url": 5}, {}, True),  # a wrong value is the default
        ({"remote": "sometimes"}, {}, False),
        ({"remote": ["always"]}, {}, False),
        ({"remote_key_command": []}, {**SENDS, "remote_key_command": ["pass", "x"]}, True),
        ({"next_edit": "hosted"}, {"remote_url": URL}, True),
        ({"next_edit": "hosted"}, SENDS, True),  # more is sent than the user has allowed
        ({"next_edit": "hosted", "remote_url": "http://evil.example"}, {"next_edit": "hosted"}, True),
        ({"next_edit": "local", "remote_url": URL}, {"next_edit": "hosted"}, False),
        ({"next_edit": "off"}, SENDS, False),
        ({"next_edit": "off"}, {**SENDS, "next_edit": "hosted"}, False),
        ({"next_edit": "sweep"}, {}, False),
        ({"next_edit": "./model"}, {}, True),
    ],
)
def test_what_needs_the_users_word(
    given: Mapping[str, object], mine: Mapping[str, object], claimed: bool
) -> None:
    assert (settings_needing_consent(given, mine, ()) is not None) is claimed


def test_a_claim_holds_all_values_that_would_count() -> None:
    """Else what was allowed of one workspace could be put together with what was allowed of another."""
    one = settings_needing_consent({**SENDS, "remote_key_command": ["pass", "a"]}, {}, ())
    assert one is not None and json.loads(one.text) == {
        **SENDS,
        "remote_key_command": ["pass", "a"],
        "remote_key_env": "MERCURY_API_KEY",
    }
    assert one != settings_needing_consent({**SENDS, "remote_key_command": ["pass", "b"]}, {}, ())
    assert without_claim({**SENDS, "max_tokens": 8, "remote_key_command": ["x"]}, one) == {"max_tokens": 8}
    assert without_claim({"max_tokens": 8}, None) == {"max_tokens": 8}


def test_nothing_in_a_value_can_hide_another() -> None:
    value = "https://a.example/\n\n\x1b[2J\u202e\u200b" + "x" * 3000
    claim = settings_needing_consent({"remote": "always", "remote_url": value}, {}, ())
    assert claim is not None and not claim.fits_prompt
    assert claim.describe().isascii() and claim.describe().isprintable()


def test_a_model_out_of_the_workspace_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "models" / "mine"
    project.mkdir()
    elsewhere.mkdir(parents=True)
    (elsewhere / "link").symlink_to(project)
    monkeypatch.chdir(tmp_path / "models")
    roots = [str(project)]
    for model in ("small", "mini", "auto", "fredzzp/open-dcoder-0.5B", str(elsewhere.parent), "unknown"):
        assert not comes_from_workspace(model, roots), model
    for model in (
        str(project / "model"), f"{elsewhere}/link/model", f"{elsewhere}/../../project/model", "./model",
        "../project/model", "a/b", "..", ".", "//host/share/model", r"\\host\share\model", r"a\b", "c:model",
        str(elsewhere),  # in the working folder, which is mostly the workspace
    ):  # fmt: skip
        assert comes_from_workspace(model, roots), model
    assert settings_needing_consent({"model": "./model"}, {}, roots) == Claim('{"model": "./model"}')
    assert settings_needing_consent({"next_edit": "./model"}, {}, roots) == Claim('{"next_edit": "./model"}')


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that a process works in")
def test_a_model_is_looked_at_though_the_working_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert comes_from_workspace(str(tmp_path / "project" / "mine"), [str(tmp_path / "project")])
    assert not comes_from_workspace(str(tmp_path / "mine"), [str(tmp_path / "project")])


@pytest.mark.integration
@pytest.mark.parametrize("name", ["mini", "small", "nowhere"])
def test_a_folder_of_a_models_name_takes_no_models_place(
    name: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    with suppress(checkpoint.CheckpointError):
        assert not checkpoint.locate_model(name).samefile(tiny_model)
    assert checkpoint.locate_model(f"./{name}").samefile(tiny_model)


def test_answers_are_kept_for_this_user_alone(home: Path) -> None:
    one, other = Claim('{"remote": "always"}'), Claim('{"model": "./x"}')
    answers = ConsentStore()
    assert answers.lookup(one) is None
    answers.save(one, True)
    answers.save(other, False)
    assert (ConsentStore().lookup(one), ConsentStore().lookup(other)) == (True, False)
    assert answers.file.is_relative_to(home / "state")
    if sys.platform != "win32":
        assert stat.S_IMODE(answers.file.stat().st_mode) == 0o600
    answers.save(one, False)
    assert ConsentStore().lookup(one) is False
    assert [file.name for file in answers.file.parent.iterdir()] == ["allowed.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "5", "[5]", '[{"settings": 1}]', '[{"allowed": true}]', '[{"settings": {}, "allowed": 1}]', "[" * 99_999],
)  # fmt: skip
def test_a_broken_file_of_answers_allows_nothing(content: str) -> None:
    answers = ConsentStore()
    answers.file.parent.mkdir(parents=True)
    answers.file.write_text(content)
    assert answers.lookup(Claim("{}")) is None
    answers.save(Claim("{}"), True)
    assert answers.lookup(Claim("{}")) is True


def test_the_users_own_file_counts_and_a_client_may_say_less() -> None:
    own(**SENDS, max_tokens=8)
    session = Session()
    assert session.config == Config(remote="always", remote_url=URL, max_tokens=8)
    session.configure({"max_tokens": 16})
    assert session.config == Config(remote="always", remote_url=URL, max_tokens=16)
    session.configure({"remote": "off", "enabled": False})
    assert (session.config.remote, session.config.enabled, session.claim) == ("off", False, None)


def test_what_is_not_allowed_leaves_the_users_own_settings_alone() -> None:
    own(**SENDS)
    session = Session()
    session.configure({"remote_url": "https://evil.example", "remote_key_env": "HOME", "max_tokens": 8})
    assert session.config == Config(remote="always", remote_url=URL, max_tokens=8)
    assert session.claim is not None
    session.allow(session.claim)
    assert (session.config.remote_url, session.claim) == ("https://evil.example", None)
    session.configure({"remote_url": "https://other.example", "remote_key_env": "HOME"})
    assert session.config.remote_url == URL and session.claim is not None


def test_the_command_line_comes_before_all() -> None:
    own(**SENDS)
    session = Session({"remote": "off"})
    session.configure({"remote": "always"})
    assert (session.config.remote, session.claim) == ("off", None)


def test_a_model_is_looked_at_again_when_the_folders_are_known(tmp_path: Path) -> None:
    session = Session()
    session.configure({"model": str(tmp_path / "model")}, first=True)
    assert session.config.model == str(tmp_path / "model")
    session.set_folders([str(tmp_path)])
    assert session.config.model == "auto" and session.claim is not None
    session.allow(session.claim)
    assert session.config.model == str(tmp_path / "model")
