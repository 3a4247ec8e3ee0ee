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

from mercury_lsp.cli.doctor.report import Report, asked

# The publisher and the name in editors/vscode/package.json.
EXTENSION = "mercury-lsp.mercury-lsp"
NAMED = re.compile(rb"\bmercury\b")
# At most so many files of an editor's settings are searched, and so many bytes of each.
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


def editors(report: Report) -> dict[str, dict[str, Any] | None]:
    """Return by program its version, `new_enough` and `set_up`, or None if the program does not tell its version."""
    there = [(kind, program) for kind in KINDS for program in kind.programs if shutil.which(program)]
    with ThreadPoolExecutor() as pool:
        facts = dict(zip((program for _, program in there), pool.map(_examine, there), strict=True))
    for kind, program in there:
        editor = facts[program]
        if editor and editor["set_up"] and not editor["new_enough"]:
            oldest = ".".join(map(str, kind.oldest))
            report.wrong(
                f"{kind.name} {editor['version']} is too old", f"install {kind.name} {oldest} or newer"
            )
    if there and not any(editor and editor["set_up"] for editor in facts.values()):
        names = ", ".join(dict.fromkeys(kind.name for kind, _ in there))
        report.wrong(
            f"no editor on this machine is set up ({names})",
            "set up an editor as described in docs/editors.md",
        )
    return facts


def _examine(editor: tuple[Kind, str]) -> dict[str, Any] | None:
    kind, program = editor
    output = asked([program, "--version"]) or ""
    version = re.search(r"\d+(?:\.\d+)+", output.partition("\n")[0])
    if version is None:
        return None
    numbers = tuple(map(int, version[0].split(".")))
    if kind.name == "VS Code":
        set_up = EXTENSION in (asked([program, "--list-extensions"]) or "").lower().split()
    else:
        set_up = any(NAMED.search(_read(path)) for path in _settings(kind.name))
    return {"version": version[0], "new_enough": numbers >= kind.oldest, "set_up": set_up}


def _settings(name: str) -> Iterable[Path]:
    """Return the settings files in which the user would have set up the server for an editor."""
    home, windows = Path.home(), sys.platform == "win32"
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if name == "Emacs":
        folders = (home / ".emacs.d", configuration / "emacs")
        return [home / ".emacs", home / ".emacs.el", *(folder / "init.el" for folder in folders)]
    if windows:
        variable, default = ("APPDATA", "Roaming") if name == "Helix" else ("LOCALAPPDATA", "Local")
        configuration = Path(os.environ.get(variable) or home / "AppData" / default)
    if name == "Helix":
        return [configuration / "helix" / "languages.toml"]
    files = islice((configuration / "nvim").rglob("*"), MAX_SETTINGS_FILES)
    return [path for path in files if path.suffix in (".lua", ".vim")]


def _read(path: Path) -> bytes:
    """Return the first `MAX_SETTINGS_BYTES` of a file, or nothing if the file cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(MAX_SETTINGS_BYTES)
    except OSError:
        return b""
