"""Finds the editors on this machine, and checks their versions and their set-up for `doctor`.

It only reads. It starts an editor only to ask for its version, and VS Code and its kin for their extensions. A missing
editor is no problem.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mercury_lsp.cli.doctor.report import Report, asked
from mercury_lsp.config import parse

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
        found = dict(zip((program for _, program in there), pool.map(_looked_at, there), strict=True))
    for kind, program in there:
        facts = found[program]
        if facts and facts["set_up"] and not facts["new_enough"]:
            wanted = ".".join(map(str, kind.oldest))
            report.wrong(f"{kind.name} {facts['version']} is too old", f"install {wanted} or newer")
    if there and not any(facts and facts["set_up"] for facts in found.values()):
        names = ", ".join(dict.fromkeys(kind.name for kind, _ in there))
        report.wrong(f"none of the editors here is set up ({names})", "see docs/editors.md")
    _helix_settings(report)
    return found


def _looked_at(editor: tuple[Kind, str]) -> dict[str, Any] | None:
    kind, program = editor
    said = asked([program, "--version"])
    version = re.search(r"\d+(?:\.\d+)+", said.partition("\n")[0] if said else "")
    if version is None:
        return None
    numbers = tuple(map(int, version[0].split(".")))
    set_up = _has_extension(program) if kind.name == "VS Code" else _is_named(_settings(kind.name))
    return {"version": version[0], "new_enough": numbers >= kind.oldest, "set_up": set_up}


def _has_extension(program: str) -> bool:
    said = asked([program, "--list-extensions"])
    return said is not None and EXTENSION in said.lower().split()


def _settings(name: str) -> Iterable[Path]:
    """The files in which an editor would be told of the server."""
    home = Path.home()
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    windows = sys.platform == "win32"
    if name == "Helix":
        return [_helix_file()]
    if name == "Emacs":
        folders = (home / ".emacs.d", configuration / "emacs")
        return [home / ".emacs", home / ".emacs.el", *(folder / "init.el" for folder in folders)]
    local = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    folder = (local if windows else configuration) / "nvim"
    return [path for path in islice(folder.rglob("*"), MAX_SETTINGS_FILES) if path.suffix in (".lua", ".vim")]


def _helix_file() -> Path:
    home = Path.home()
    if sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return folder / "helix" / "languages.toml"


def _is_named(paths: Iterable[Path]) -> bool:
    return any(NAMED.search(_read(path)) for path in paths)


def _read(path: Path) -> bytes:
    """The beginning of a file; nothing where it cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(MAX_SETTINGS_BYTES)
    except OSError:
        return b""


def _helix_settings(report: Report) -> None:
    """Whether Helix' file is sound, the server in it is used, and its options are right."""
    path = _helix_file()
    try:
        settings = tomllib.loads(_read(path).decode())
    except ValueError as error:
        report.wrong(f"{path} is no TOML: {error}", "fix it there; Helix uses none of it until then")
        return
    match settings:
        case {"language-server": {"mercury": dict(mine)}}:
            languages = settings.get("language", [])
            if not any("mercury" in _servers(language) for language in languages):
                report.wrong(
                    f"no language in {path} names mercury", "add it to a language's language-servers"
                )
            for sentence in parse(mine.get("config", {}))[1]:
                report.wrong(f"{path}: {sentence.rstrip('.')}", "fix it there")


def _servers(language: dict[str, Any]) -> list[str]:
    """The names of the servers of a language; one may be a table with its name."""
    return [
        str(server.get("name")) if isinstance(server, dict) else str(server)
        for server in language.get("language-servers", [])
    ]
