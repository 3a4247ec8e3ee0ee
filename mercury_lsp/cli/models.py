"""Lists, downloads, selects and removes models: `mercury-lsp models`.

Only downloads contact another machine, and only downloads import the modules for it. A model that will run on the CPU
is prepared for the kernel when it is selected, so that the editor's first start does not wait for the preparation.
"""

from __future__ import annotations

import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.errors import BadUsage, Failure
from mercury_lsp.models import downloads, local_files, selection
from mercury_lsp.models.registry import MODELS, find_known

if TYPE_CHECKING:
    from mercury_lsp.models.hub import HubModel

SHIPPED = {
    "small": "The default model, part of mercury-lsp.",
    "mini": "Half the computation of small, less accurate.",
}
# The origins of the shipped models, for messages.
_PACKAGES = {"small": "part of mercury-lsp", "mini": "the package mercury-lsp-mini"}
# The license of the shipped models.
_LICENSE = "apache-2.0"
# The exit status after Ctrl-C.
_INTERRUPTED_STATUS = 130


def run(arguments: Namespace) -> int:
    """List, download, select or remove models; return the exit status."""
    try:
        match arguments.action:
            case "download":
                _download(arguments.model, arguments.yes)
            case "select":
                _select(arguments.model)
            case "remove":
                _remove(arguments.model)
            case _:
                _print_models(arguments.json)
    except selection.UserConfigError as error:
        raise Failure(str(error)) from error
    except BrokenPipeError:
        # The reader of the list closed the pipe: `main` ends quietly.
        raise
    except OSError as error:
        raise Failure(f"Cannot change {error.filename or 'a file'}: {error.strerror or error}.") from error
    return 0


def _list_models(selected_path: Path | None) -> list[dict[str, Any]]:
    """Return all models as JSON objects.

    These are the shipped, the downloaded, the partly downloaded ones, those of other programs, the one selected by its
    path, and the known ones.
    """
    rows = []
    for name, good_for in SHIPPED.items():
        if (path := _find_folder(name)) is not None:
            rows.append(_model_row(name, "shipped", path, selected_path, _LICENSE) | {"good_for": good_for})
    for download in downloads.list_downloads():
        note = download.note
        row = _model_row(note.repo, "downloaded", download.folder, selected_path, note.license)
        rows.append(row | {"revision": note.revision})
    listed = {row["repo"] for row in rows}
    for repo in downloads.list_partial_downloads():
        rows.append(_model_row(repo, "unfinished", downloads.partial_folder(repo), selected_path))
        listed.add(repo)
    for local in local_files.list_local_files():
        rows.append(_model_row(local.name, local.program, local.path, selected_path))
    if selected_path is not None and not any(row["selected"] for row in rows):
        rows.append(_model_row(str(selected_path), "folder", selected_path, selected_path))
    return rows + [
        _model_row(entry.repo, "known", None, selected_path) for entry in MODELS if entry.repo not in listed
    ]


def _model_row(
    model: str,
    state: str,
    path: Path | None,
    selected_path: Path | None,
    license: str | None = None,
) -> dict[str, Any]:
    """Return a model as a JSON object.

    state: where the model is. path: its path on this machine, if any. selected_path: that of the selected model. In the
    result, `bytes` is the model's size here or after a download, or None if the size is unknown.
    """
    entry = find_known(model)
    size = int(entry.gigabytes * 1e9) if entry and entry.gigabytes else None
    if path is not None:
        size = contents.model_bytes(path)
    return {
        "name": entry.name if entry else model,
        "repo": entry.repo if entry else model if state in ("downloaded", "unfinished") else None,
        "family": entry.family if entry else None,
        "parameters": entry.parameters if entry else None,
        "state": state,
        "bytes": size,
        "license": license or (entry.license if entry else None),
        "revision": None,
        "folder": str(path) if path else None,
        "good_for": entry.good_for if entry else None,
        "selected": path is not None and path == selected_path,
    }


def _find_folder(model: str) -> Path | None:
    try:
        return checkpoint.locate_model(model)
    except checkpoint.CheckpointError:
        return None


def _print_models(as_json: bool) -> None:
    choice = selection.choose_model()
    folder = _find_folder(choice.model)
    rows = _list_models(folder)
    if as_json:
        selected = {"model": choice.model, "by": choice.source, "problem": choice.problem or None}
        print(json.dumps({"selected": selected, "models": rows}))
        return
    output = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    for title in ("", "name", "size", "license", "where"):
        table.add_column(title, no_wrap=True)
    table.add_column("good for")
    for row in rows:
        size = "-" if row["bytes"] is None else _format_size(row["bytes"])
        where = "the hub" if row["state"] == "known" else row["state"]
        cells = (row["name"], size, row["license"] or "-", where, row["good_for"] or "-")
        table.add_row("*" if row["selected"] else "", *map(downloads.escape_unprintable, cells))
    output.print(table)
    output.print(
        f"* The selected model is {choice.model} ({choice.source}), unless a setting names another.",
        markup=False,
    )
    if choice.problem:
        print(f"mercury-lsp: {downloads.escape_unprintable(choice.problem)}", file=sys.stderr)
    elif folder is None:
        print(f"mercury-lsp: The model {choice.model} does not exist; select another model.", file=sys.stderr)


def _download(model: str, is_accepted: bool) -> None:
    name, _, revision = model.partition("@")
    if name in SHIPPED:
        raise BadUsage(f"{name} cannot be downloaded: it is {_PACKAGES[name]}.")
    entry = find_known(name)
    repo = entry.repo if entry else name
    if "/" not in repo:
        raise BadUsage(
            f"{name} is neither a known model (see mercury-lsp models) nor OWNER/NAME of a hub repository."
        )
    from mercury_lsp.models import fetch, hub

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"Asking {hub.host()} for {repo}.", markup=False)
    try:
        hub_model = hub.request_model(repo, revision or None)
        old = downloads.find_download(hub_model.repo)
        if old is not None and old.note.revision == hub_model.revision:
            print(f"{old.name} is already downloaded, in {old.folder}.")
            return
        _ask_to_accept_license(hub_model, is_accepted, console)
        columns = (TextColumn("{task.description}"), BarColumn(None), DownloadColumn(), TransferSpeedColumn())
        with Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task(entry.name if entry else repo, total=hub_model.size)
            folder = fetch.download_model(hub_model, lambda count: progress.advance(task, count))
    except hub.HubError as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        raise Failure(
            "Stopped the download: run the same command to resume it.", _INTERRUPTED_STATUS
        ) from None
    print(f"Downloaded {hub_model.repo} at {hub_model.revision[:12]} to {folder}.")
    print(f"To use this model, run: mercury-lsp models select {entry.name if entry else hub_model.repo}")


def _ask_to_accept_license(hub_model: HubModel, is_accepted: bool, console: Console) -> None:
    """Show the license and ask the user to accept it. Raises `Failure` if the user does not accept it."""
    license = (
        f"the license {hub_model.license}"
        if hub_model.license
        else "a license that its model card does not name"
    )
    console.print(
        f"{hub_model.repo}, {_format_size(hub_model.size)}, has {license}: see {hub_model.page}", markup=False
    )
    if is_accepted:
        return
    if not sys.stdin.isatty():
        raise BadUsage("Add --yes to accept the license without a prompt.")
    console.print("Do you accept the license? [y/N] ", end="", markup=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("Downloaded nothing: you did not accept the license.")


def _select(model: str) -> None:
    folder = checkpoint.locate_model(model)
    contents.check_model_folder(folder)
    _prepare(folder)
    download = downloads.find_download(model)
    if (model in SHIPPED and folder != Path(model)) or local_files.find_local(model) == folder:
        name = model
    else:
        name = download.name if download and download.folder == folder else str(folder.resolve())
    selection.select_model(name)
    print(f"Selected {name}. The server uses it from its next start, unless a setting names another model.")
    if (choice := selection.choose_model()).model != name:
        print(f"mercury-lsp: {choice.source} names {choice.model}, which takes precedence.", file=sys.stderr)


def _prepare(folder: Path) -> None:
    """Prepare a model's weights for the kernel if the CPU will run the model, and warn if it will be slow there."""
    from mercury_lsp.engine.backends.devices import pick_device, prepare
    from mercury_lsp.engine.load import load_checkpoint
    from mercury_lsp.engine.open_models.cost import seconds_for

    if pick_device("auto") != "cpu":
        return
    loaded = load_checkpoint(str(folder.resolve()))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(None), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("preparing", total=1.0)
        prepare(loaded, lambda share: progress.update(task, completed=share))
    if isinstance(loaded, OpenCheckpoint) and (seconds := seconds_for(loaded)) is not None:
        console.print(
            f"{loaded.name} reads the whole prompt again for each length that it tries, so a suggestion takes "
            f"{seconds:.0f} s or more on this CPU. Models that fill from left to right are faster; see docs/models.md.",
            markup=False,
        )


def _remove(model: str) -> None:
    entry, download = find_known(model), downloads.find_download(model)
    repo = download.note.repo if download else entry.repo if entry else model
    is_partial = repo in downloads.list_partial_downloads()
    if model in SHIPPED:
        raise BadUsage(f"{model} is a shipped model; only downloaded models can be removed.")
    if download is None and not is_partial:
        raise BadUsage(f"{model} is not a downloaded model; see mercury-lsp models.")
    freed_bytes = 0
    folders = [download.folder] if download else []
    for folder in folders + ([downloads.partial_folder(repo)] if is_partial else []):
        freed_bytes += sum(file.stat().st_size for file in folder.iterdir())
        shutil.rmtree(folder)
    name = entry.name if entry else repo
    print(f"Removed {name} ({_format_size(freed_bytes)}).")
    if selection.selected_model() in (name, repo):
        selection.select_model(None)
        print(f"The selected model is now {selection.DEFAULT_MODEL}.")


def _format_size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
