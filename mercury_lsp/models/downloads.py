"""Finds downloaded models: a folder for each model, with a note of its origin.

A folder under a model's own name is complete. An unfinished download has a folder next to it, see `partial_folder`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mercury_lsp import paths
from mercury_lsp.models.registry import find_known

NOTE_FILE = ".mercury-lsp.json"
_PARTIAL_SUFFIX = ".partial"


@dataclass(frozen=True, slots=True)
class DownloadNote:
    """The origin of a model.

    `revision`: the commit at `host`. `license`: of the model's card, or None. `files`: the checked hash of each file.
    """

    repo: str
    revision: str
    host: str
    license: str | None
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Download:
    """A downloaded model and its folder."""

    note: DownloadNote
    folder: Path

    @property
    def name(self) -> str:
        """The model's short name, or else its name at the hub."""
        entry = find_known(self.note.repo)
        return entry.name if entry else self.note.repo


def escape_unprintable(text: str) -> str:
    """Make foreign text safe for a terminal: escape all characters that are neither printable nor newlines."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text
    )


def models_folder() -> Path:
    """Return the folder of downloaded models, which may not exist."""
    return paths.folder("data") / "models"


def model_folder(repo: str) -> Path:
    """Return the folder of a model by its name at the hub, without a double dash; the folder may not exist."""
    return models_folder() / repo.replace("/", "--")


def partial_folder(repo: str) -> Path:
    """Return the folder of a model during its download, which may not exist."""
    folder = model_folder(repo)
    return folder.with_name(folder.name + _PARTIAL_SUFFIX)


def list_partial_downloads() -> list[str]:
    """Return the hub names of models whose download has begun and not ended."""
    folders = sorted(models_folder().glob(f"*--*{_PARTIAL_SUFFIX}"))
    return [
        folder.name.removesuffix(_PARTIAL_SUFFIX).replace("--", "/") for folder in folders if folder.is_dir()
    ]


def write_note(folder: Path, note: DownloadNote) -> None:
    """Write the note into a model's folder. Raises `OSError`."""
    (folder / NOTE_FILE).write_text(json.dumps(asdict(note), indent=2) + "\n", encoding="utf-8")


def list_downloads() -> list[Download]:
    """Return all downloaded models, sorted by folder. A folder without a valid note does not count."""
    found = []
    for file in sorted(models_folder().glob(f"*/{NOTE_FILE}")):
        is_complete = not file.parent.name.startswith(".") and not file.parent.name.endswith(_PARTIAL_SUFFIX)
        if is_complete and (note := _read_note(file)):
            found.append(Download(note, file.parent))
    return found


def find_download(model: str) -> Download | None:
    """Return a downloaded model by its short name or hub name, in any letter case; None if there is none."""
    entry = find_known(model)
    wanted_repo = (entry.repo if entry else model).casefold()
    return next((found for found in list_downloads() if found.note.repo.casefold() == wanted_repo), None)


def _read_note(file: Path) -> DownloadNote | None:
    try:
        note: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return DownloadNote(**note)
    except (OSError, ValueError, TypeError):
        return None
