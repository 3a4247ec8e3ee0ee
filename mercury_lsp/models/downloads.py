"""The models that were downloaded: a folder for each, and in it a note of where it came from.

Owns the place of these folders, their names and their notes. A folder under a model's own name is whole: what is still
being downloaded lies beside it, see `partial`. Knows neither the hub nor what a model is made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mercury_lsp import paths
from mercury_lsp.models.registry import known

NOTE = ".mercury-lsp.json"
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Note:
    """Where a model came from. `revision`: the commit at `host`; `license`: as its card names it, or None; `files`: by
    name, the hash that each was checked against."""

    repo: str
    revision: str
    host: str
    license: str | None
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Download:
    """A model that was downloaded, and its folder."""

    note: Note
    folder: Path

    @property
    def name(self) -> str:
        """What the user calls it: its short name, where it has one."""
        entry = known(self.note.repo)
        return entry.name if entry else self.note.repo


def printable(text: str) -> str:
    """A text from elsewhere as it may be shown on a terminal: what is no plain character is told by its number."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text
    )


def models_folder() -> Path:
    """Where downloaded models are kept; it may not exist."""
    return paths.folder("data") / "models"


def folder_of(repo: str) -> Path:
    """Where a model belongs, by its name at the hub, in which there is no double dash; it may not exist."""
    return models_folder() / repo.replace("/", "--")


def partial(repo: str) -> Path:
    """Where a model lies while it is downloaded; it may not exist."""
    folder = folder_of(repo)
    return folder.with_name(folder.name + _PARTIAL)


def begun() -> list[str]:
    """The models, by their names at the hub, that are being downloaded, or were not to the end."""
    found = sorted(models_folder().glob(f"*--*{_PARTIAL}"))
    return [folder.name.removesuffix(_PARTIAL).replace("--", "/") for folder in found if folder.is_dir()]


def write_note(folder: Path, note: Note) -> None:
    """Tell where a folder's model came from. Raises `OSError`."""
    (folder / NOTE).write_text(json.dumps(asdict(note), indent=2) + "\n", encoding="utf-8")


def downloaded() -> list[Download]:
    """All models that were downloaded, in the order of their names. A folder without a note is none of them."""
    found = []
    for file in sorted(models_folder().glob(f"*/{NOTE}")):
        own = not file.parent.name.startswith(".") and not file.parent.name.endswith(_PARTIAL)
        if own and (note := _note(file)):
            found.append(Download(note, file.parent))
    return found


def find(model: str) -> Download | None:
    """A downloaded model by its short name or its name at the hub, in capitals or not; None where there is none."""
    entry = known(model)
    wanted = (entry.repo if entry else model).casefold()
    return next((found for found in downloaded() if found.note.repo.casefold() == wanted), None)


def _note(file: Path) -> Note | None:
    try:
        note: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Note(**note)
    except (OSError, ValueError, TypeError):
        return None
