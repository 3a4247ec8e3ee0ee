"""Tests of the user's folders with unusual environment variables, and of output to a closed pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mercury_lsp import paths
from mercury_lsp.models.downloads import models_folder
from mercury_lsp.models.selection import config_file
from mercury_lsp.paths import cache_folder
from mercury_lsp.telemetry.store import history_file


@pytest.mark.parametrize("value", ["cache", "./cache", "../x", "", " ", "~nobody-at-all/x"])
def test_relative_xdg_variables_are_ignored(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", value)
    for file in (config_file(), models_folder(), cache_folder(), history_file()):
        assert file.is_relative_to("/h"), file


@pytest.mark.integration
def test_a_command_creates_no_files_in_the_working_folder(tmp_path: Path) -> None:
    relative = {f"XDG_{kind}_HOME": f"./{kind.lower()}" for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
    (tmp_path / "a.py").write_text("def area(width, height):\n    return ")
    for command in (["doctor", "--json"], ["models", "list"], ["complete", "a.py:2:12", "--model", "mini"]):
        done = subprocess.run(
            [sys.executable, "-m", "mercury_lsp", *command],
            cwd=tmp_path,
            env={**os.environ, **relative},
            capture_output=True,
            timeout=120,
        )
        assert b"Traceback" not in done.stderr and done.returncode in (0, 1), done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["a.py"]


@pytest.mark.skipif(sys.platform == "win32", reason="HOME is of POSIX")
def test_a_relative_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "home")
    for kind in ("config", "data", "state", "cache"):
        monkeypatch.delenv(f"XDG_{kind.upper()}_HOME", raising=False)
        assert paths.folder(kind).is_absolute()
        assert not paths.folder(kind).is_relative_to(Path.cwd())


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="a pipe is closed otherwise there")
@pytest.mark.parametrize("command", [["models", "--json"], ["models"], ["--help"], ["doctor", "--json"]])
def test_output_to_a_closed_pipe_ends_without_a_traceback(command: list[str]) -> None:
    out, into = os.pipe()
    os.close(out)
    done = subprocess.run(
        [sys.executable, "-m", "mercury_lsp", *command], stdout=into, stderr=subprocess.PIPE, timeout=120
    )
    os.close(into)
    assert b"Traceback" not in done.stderr and b"roken" not in done.stderr
    assert done.returncode in (0, 1)
