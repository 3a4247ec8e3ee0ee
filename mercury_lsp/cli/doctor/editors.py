"""Finds the editors on this machine, and checks their versions and their set-up for `doctor`.

The checks change nothing. They start an editor only to ask for its version, and VS Code and its variants also for their
extensions. A missing editor is not a problem.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mercury_lsp.cli.doctor.report import Report, program_output

# The publisher and the name in editors/vscode/package.json.
EXTENSION = "mercury-lsp.mercury-lsp"
MERCURY_NAME = re.compile(rb"\bmercury\b")
# The largest number of an editor's settings files that are searched, and of bytes of each.
MAX_SETTINGS_FILES = 500
MAX_SETTINGS_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of editor: its name, its programs and the oldest supported version."""

    name: str
    programs: tuple[str, ...]
    oldest: tuple[int, ...]


KINDS = (
    Kind("Neovim", ("nvim",), (0, 11)),
    Kind("VS Code", ("code", "codium", "code-insiders", "code-server"), (1, 91)),
    Kind("Helix", ("hx", "helix"), (25,)),
    Kind("Emacs", ("emacs",), (30, 1)),
)


def check_editors(report: Report) -> dict[str, dict[str, Any] | None]:
    """Return by program its version, `new_enough` and `set_up`, or None if the program does not tell its version."""
    installed = [(kind, program) for kind in KINDS for program in kind.programs if shutil.which(program)]
    with ThreadPoolExecutor() as pool:
        facts = dict(zip((program for _, program in installed), pool.map(_inspect, installed), strict=True))
    for kind, program in installed:
        editor = facts[program]
        if editor and editor["set_up"] and not editor["new_enough"]:
            oldest = ".".join(map(str, kind.oldest))
            report.add_problem(
                f"{kind.name} {editor['version']} is too old", f"install {kind.name} {oldest} or newer"
            )
    if installed and not any(editor and editor["set_up"] for editor in facts.values()):
        names = ", ".join(dict.fromkeys(kind.name for kind, _ in installed))
        report.add_problem(
            f"no editor on this machine is set up ({names})",
            "set up an editor as described in docs/editors.md",
        )
    return facts


def _inspect(editor: tuple[Kind, str]) -> dict[str, Any] | None:
    kind, program = editor
    output = program_output([program, "--version"]) or ""
    version = re.search(r"\d+(?:\.\d+)+", output.partition("\n")[0])
    if version is None:
        return None
    numbers = tuple(map(int, version[0].split(".")))
    if kind.name == "VS Code":
        set_up = EXTENSION in (program_output([program, "--list-extensions"]) or "").lower().split()
    else:
        set_up = any(MERCURY_NAME.search(_read_file(path)) for path in _settings_files(kind.name))
    return {"version": version[0], "new_enough": numbers >= kind.oldest, "set_up": set_up}


def _settings_files(name: str) -> Iterable[Path]:
    """Return the settings files in which the user would have set up the server for an editor."""
    home, windows = Path.home(), sys.platform == "win32"
    config_folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if name == "Emacs":
        folders = (home / ".emacs.d", config_folder / "emacs")
        return [home / ".emacs", home / ".emacs.el", *(folder / "init.el" for folder in folders)]
    if windows:
        variable, default = ("APPDATA", "Roaming") if name == "Helix" else ("LOCALAPPDATA", "Local")
        config_folder = Path(os.environ.get(variable) or home / "AppData" / default)
    if name == "Helix":
        return [config_folder / "helix" / "languages.toml"]
    files = islice((config_folder / "nvim").rglob("*"), MAX_SETTINGS_FILES)
    return [path for path in files if path.suffix in (".lua", ".vim")]


def _read_file(path: Path) -> bytes:
    """Return the first `MAX_SETTINGS_BYTES` of a file, or nothing if the file cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(MAX_SETTINGS_BYTES)
    except OSError:
        return b""
