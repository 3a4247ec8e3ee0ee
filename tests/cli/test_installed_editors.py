"""The editors that `doctor` finds, with scripts that print the output of the real programs."""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path

import pytest
from support import ROOT

from mercury_lsp.cli.doctor import editors as installed_editors
from mercury_lsp.cli.doctor.editors import EXTENSION, KINDS, check_editors
from mercury_lsp.cli.doctor.report import Report, program_output
from mercury_lsp.config import parse_settings


class Machine:
    """A home folder and a PATH that contain only the files of a test."""

    def __init__(self, folder: Path) -> None:
        self.home, self.programs = folder / "home", folder / "bin"
        self.home.mkdir()
        self.programs.mkdir()

    def install(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def configure(self, path: str, text: str) -> None:
        file = self.home / ".config" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def examine(self) -> tuple[dict[str, dict[str, object] | None], list[str]]:
        report = Report()
        found = check_editors(report)
        # A problem of an editor is never fatal.
        assert report.usable
        return found, [problem.problem for problem in report.problems]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("PATH", str(made.programs))
    return made


def test_a_machine_without_editors_is_no_problem(machine: Machine) -> None:
    assert machine.examine() == ({}, [])


@pytest.mark.parametrize(
    ("program", "said", "file", "text", "version"),
    [
        ("nvim", "NVIM v0.12.4\nBuild type: Release", "nvim/lua/plugins.lua", 'require("mercury").setup()', "0.12.4"),
        ("hx", "helix 25.07.1 (a05c151b)", "helix/languages.toml", "[language-server.mercury]", "25.07.1"),
        ("emacs", "GNU Emacs 30.2", "emacs/init.el", "(load \"mercury.el\")", "30.2"),
    ],
)  # fmt: skip
def test_an_editor_is_set_up_if_its_settings_name_mercury(
    machine: Machine, program: str, said: str, file: str, text: str, version: str
) -> None:
    machine.install(program, f"echo '{said}'")
    found, problems = machine.examine()
    assert found == {program: {"version": version, "new_enough": True, "set_up": False}}
    assert len(problems) == 1 and problems[0].startswith("no editor on this machine is set up (")
    machine.configure(file, text)
    found, problems = machine.examine()
    assert found[program] == {"version": version, "new_enough": True, "set_up": True}
    assert not any("set up" in problem for problem in problems)


@pytest.mark.parametrize(
    ("listed", "set_up"),
    [((EXTENSION,), True), (("ms-python.python", EXTENSION.upper()), True), (("ms-python.python",), False)],
)
def test_vs_code_is_set_up_if_it_has_the_extension(
    machine: Machine, listed: tuple[str, ...], set_up: bool
) -> None:
    lines = "\\n".join(listed)
    machine.install("code", f"[ $1 = --version ] && printf '1.104.2\\nabc\\nx64' || printf '{lines}\\n'")
    found, _ = machine.examine()
    assert found == {"code": {"version": "1.104.2", "new_enough": True, "set_up": set_up}}


def test_an_editor_that_is_set_up_but_too_old_is_a_problem(machine: Machine) -> None:
    machine.install("nvim", "echo NVIM v0.10.4")
    # This editor is not set up, so its version does not matter.
    machine.install("emacs", "echo GNU Emacs 29.1")
    machine.configure("nvim/init.lua", "-- mercury")
    found, problems = machine.examine()
    assert not found["nvim"]["new_enough"] and not found["emacs"]["new_enough"]  # type: ignore[index]
    assert problems == ["Neovim 0.10.4 is too old"]


def test_an_editor_whose_version_is_unknown_is_listed_without_facts(machine: Machine) -> None:
    machine.install("nvim", "exit 1")
    machine.install("hx", "echo no number")
    machine.install("emacs", "echo GNU Emacs 30.1; exit 3")
    assert machine.examine()[0] == {"nvim": None, "hx": None, "emacs": None}


def test_a_program_that_does_not_end_is_killed_with_its_child_processes(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    command = ["/bin/sh", "-c", f"sleep 600 & echo $! > {started}; wait"]
    assert program_output(command, seconds=1.0) is None
    state = Path(f"/proc/{started.read_text().strip()}/stat")

    def runs() -> bool:
        # A process that has ended may still be a zombie.
        try:
            return state.read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    # On a busy machine a signal takes some time to arrive.
    until = time.monotonic() + 30
    while runs() and time.monotonic() < until:
        time.sleep(0.01)
    assert not runs()


def test_the_shipped_settings_for_helix_are_valid_and_count_as_set_up(machine: Machine) -> None:
    machine.install("hx", "echo helix 25.07")
    shipped = (ROOT / "editors/helix/languages.toml").read_text(encoding="utf-8")
    machine.configure("helix/languages.toml", shipped)
    found, problems = machine.examine()
    assert found["hx"]["set_up"] and not problems  # type: ignore[index]
    settings = tomllib.loads(shipped)
    assert not parse_settings(settings["language-server"]["mercury"]["config"])[1]
    assert any("mercury" in language["language-servers"] for language in settings["language"])


def test_extension_name_and_oldest_versions_match_the_editors_folders() -> None:
    package = json.loads((ROOT / "editors/vscode/package.json").read_text(encoding="utf-8"))
    assert f"{package['publisher']}.{package['name']}" == EXTENSION
    oldest = {kind.name: ".".join(map(str, kind.oldest)) for kind in KINDS}
    assert package["engines"]["vscode"] == f"^{oldest['VS Code']}.0"
    for name, folder in (("Neovim", "neovim"), ("Emacs", "emacs"), ("Helix", "helix")):
        readme = (ROOT / "editors" / folder / "README.md").read_text(encoding="utf-8")
        assert f"{name} {oldest[name]}" in readme, name


def test_only_the_beginning_of_a_long_settings_file_is_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.install("nvim", "echo NVIM v0.12.0")
    machine.configure("nvim/init.lua", "mercury" + " " * 100)
    monkeypatch.setattr(installed_editors, "MAX_SETTINGS_BYTES", 3)
    assert machine.examine()[0]["nvim"]["set_up"] is False  # type: ignore[index]
