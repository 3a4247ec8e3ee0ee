"""Finds the editors on this machine, and checks their versions and their set-up for `doctor`.

It only reads. It starts an editor only to ask for its version, and VS Code and its kin for their extensions. A missing
editor is no problem.
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

EXTENSION = "mercury-lsp.mercury-lsp"  # publisher and name of editors/vscode/package.json
NAMED = re.compile(rb"\bmercury\b")
# Of an editor's settings, looked into at most.
MAX_SETTINGS_FILES = 500
MAX_SETTINGS_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Kind:
    """An editor: its programs, the oldest version that will do, and what its settings are called."""

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
    """By program: version, whether it is new enough, and whether it is set up; None where it cannot be asked."""
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
    """The files in which an editor would be told of the server."""
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
    """The beginning of a file; nothing where it cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(MAX_SETTINGS_BYTES)
    except OSError:
        return b""
