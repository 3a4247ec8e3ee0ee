"""Lists, downloads, selects and removes models: `mercury-lsp models`.

Only downloads contact another machine, and only they import the modules that do.
"""

from __future__ import annotations

import json
import shutil
import sys
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from mercury_lsp.engine.checkpoints import checkpoint, contents
from mercury_lsp.errors import BadUsage, Failure
from mercury_lsp.models import downloads, selection
from mercury_lsp.models.registry import MODELS, known

if TYPE_CHECKING:
    from mercury_lsp.models.hub import Offer

SHIPPED = {
    "small": "The model that comes with mercury-lsp.",
    "mini": "The same at half the cost, less exact.",
}
_LICENSE = "apache-2.0"  # of those
_STOPPED = 130  # the exit status of what the user has interrupted


@dataclass(frozen=True, slots=True)
class Row:
    """One model in the list. `state`: where it is; `bytes`: what it takes, or would; None where that is not known."""

    name: str
    repo: str | None
    family: str | None
    parameters: str | None
    state: Literal["shipped", "downloaded", "unfinished", "folder", "known"]
    bytes: int | None
    license: str | None
    revision: str | None
    folder: str | None
    good_for: str | None
    selected: bool


def run(arguments: Namespace) -> int:
    """Do what is asked; 0 if that succeeded."""
    try:
        match arguments.action:
            case "download":
                _download(arguments.model, arguments.yes)
            case "select":
                _select(arguments.model)
            case "remove":
                _remove(arguments.model)
            case _:
                _list(arguments.json)
    except selection.UserConfigError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(
            f"{error.filename or 'A file'} cannot be changed: {error.strerror or error}."
        ) from error
    return 0


def rows(used: str) -> list[Row]:
    """All models that there are to tell of. used: the name or folder of the one that is selected."""
    found, folder = [], _located(used)
    for name, good_for in SHIPPED.items():
        if (place := _located(name)) is not None:
            found.append(_row(name, "shipped", place, folder, _LICENSE, good_for=good_for))
    for download in downloads.downloaded():
        note = download.note
        found.append(_row(note.repo, "downloaded", download.folder, folder, note.license, note.revision))
    listed = {row.repo for row in found}
    for repo in downloads.begun():
        found.append(_row(repo, "unfinished", downloads.partial_folder(repo), folder, None))
    if folder is not None and not any(row.selected for row in found):
        found.append(_row(str(folder), "folder", folder, folder, None))
    for entry in MODELS:
        if entry.repo not in listed and entry.repo not in downloads.begun():
            found.append(_row(entry.repo, "known", None, folder, entry.license))
    return found


def _row(
    model: str,
    state: Literal["shipped", "downloaded", "unfinished", "folder", "known"],
    place: Path | None,
    used: Path | None,
    license: str | None,
    revision: str | None = None,
    good_for: str | None = None,
) -> Row:
    entry = known(model)
    size = int(entry.gigabytes * 1e9) if entry and entry.gigabytes else None
    if place is not None:
        size = sum(file.stat().st_size for file in place.iterdir() if file.is_file())
    return Row(
        name=entry.name if entry else model,
        repo=entry.repo if entry else model if state in ("downloaded", "unfinished") else None,
        family=entry.family if entry else None,
        parameters=entry.parameters if entry else None,
        state=state,
        bytes=size,
        license=license or (entry.license if entry else None),
        revision=revision,
        folder=str(place) if place else None,
        good_for=entry.good_for if entry else good_for,
        selected=place is not None and place == used,
    )


def _located(model: str) -> Path | None:
    try:
        return checkpoint.locate_model(model)
    except checkpoint.CheckpointError:
        return None


def _list(as_json: bool) -> None:
    used = selection.choose_model()
    found = rows(used.model)
    if as_json:
        chosen = {"model": used.model, "by": used.by, "problem": used.problem or None}
        print(json.dumps({"selected": chosen, "models": [asdict(row) for row in found]}))
        return
    output = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    for title in ("", "name", "size", "license", "where"):
        table.add_column(title, no_wrap=True)
    table.add_column("good for")
    for row in found:
        size = "-" if row.bytes is None else _size(row.bytes)
        where = "the hub" if row.state == "known" else row.state
        mark = "*" if row.selected else ""
        table.add_row(
            mark, *map(downloads.printable, (row.name, size, row.license or "-", where, row.good_for or "-"))
        )
    output.print(table)
    output.print(f"* is used: {used.model}, by {used.by}, unless a setting names another.", markup=False)
    if used.problem:
        print(f"mercury-lsp: {downloads.printable(used.problem)}", file=sys.stderr)
    elif _located(used.model) is None:
        print(f"mercury-lsp: {used.model} is not there; select another.", file=sys.stderr)


def _download(wanted: str, agreed: bool) -> None:
    name, _, revision = wanted.partition("@")
    if name in SHIPPED:
        raise BadUsage(f"{name} is not downloaded: it is shipped, in a package of its own.")
    entry = known(name)
    repo = entry.repo if entry else name
    if "/" not in repo:
        raise BadUsage(f"{name} is neither a known model, see mercury-lsp models, nor OWNER/NAME at the hub.")
    from mercury_lsp.models import fetch, hub

    say = Console(stderr=True, highlight=False, soft_wrap=True)
    say.print(f"Asking {hub.host()} for {repo}.", markup=False)
    try:
        found = hub.offer(repo, revision or None)
        old = downloads.find_download(found.repo)
        if old is not None and old.note.revision == found.revision:
            print(f"{old.name} is there already, in {old.folder}.")
            return
        _agree(found, agreed, say)
        with _progress(say) as progress:
            bar = progress.add_task(entry.name if entry else repo, total=found.size)
            folder = fetch.fetch(found, lambda count: progress.advance(bar, count))
    except hub.HubError as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        raise Failure("The download was stopped: the same command goes on from there.", _STOPPED) from None
    print(f"{found.repo} at {found.revision[:12]} is in {folder}.")
    print(f"To use it: mercury-lsp models select {entry.name if entry else found.repo}")


def _progress(say: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(None), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=say, transient=True, disable=not say.is_terminal)


def _agree(found: Offer, agreed: bool, say: Console) -> None:
    """Show the license, and ask the user to accept it. Raises `Failure` where that does not happen."""
    license = f"the license {found.license}" if found.license else "a license that its card does not name"
    say.print(f"{found.repo}, {_size(found.size)}, has {license}: see {found.page}", markup=False)
    if agreed:
        return
    if not sys.stdin.isatty():
        raise BadUsage("To accept the license without being asked, give --yes.")
    say.print("Do you accept it? [y/N] ", end="", markup=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("Nothing was downloaded: the license was not accepted.")


def _select(wanted: str) -> None:
    try:
        folder = checkpoint.locate_model(wanted)
        contents.check_model_folder(folder)
    except checkpoint.CheckpointError as error:
        raise Failure(str(error)) from error
    own = wanted in SHIPPED and folder != Path(wanted)
    download = downloads.find_download(wanted)
    name = (
        wanted if own else download.name if download and download.folder == folder else str(folder.resolve())
    )
    selection.select_model(name)
    print(f"{name} is used from the next start of the server, unless a setting names another.")
    if (used := selection.choose_model()).model != name:
        print(f"mercury-lsp: {used.by} names {used.model}, which comes first.", file=sys.stderr)


def _remove(wanted: str) -> None:
    entry, download = known(wanted), downloads.find_download(wanted)
    repo = download.note.repo if download else entry.repo if entry else wanted
    begun = repo in downloads.begun()
    if wanted in SHIPPED:
        raise BadUsage(f"{wanted} is shipped: only models that were downloaded are removed.")
    if download is None and not begun:
        raise BadUsage(f"{wanted} is no model that was downloaded; see mercury-lsp models.")
    freed = 0
    for folder in (download.folder if download else None, downloads.partial_folder(repo) if begun else None):
        if folder is not None:
            freed += sum(file.stat().st_size for file in folder.iterdir())
            shutil.rmtree(folder)
    name = entry.name if entry else repo
    print(f"{name} was removed: {_size(freed)}.")
    if selection.selected_model() in (name, repo):
        selection.select_model(None)
        print(f"It was selected: now {selection.DEFAULT_MODEL} is.")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
