"""Checks the program, the server and its folders as an editor would use them on this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mercury_lsp import __version__
from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.bench.scenes import SAMPLES_FOLDER, scenes
from mercury_lsp.cli.doctor.report import Report, program_output
from mercury_lsp.completion.types import Cause
from mercury_lsp.errors import Failure
from mercury_lsp.paths import cache_folder
from mercury_lsp.telemetry import store

PROGRAM = "mercury-lsp"
# The time limit for starting the server, loading the model and a first suggestion.
TRIAL_SECONDS = 120.0
# The size that the prepared weights of a model may have.
MIN_FREE_MB = 300
# The days of the history in which recent requests are counted.
RECENT_DAYS = 7


def check_environment(report: Report) -> dict[str, str | None]:
    """Return the environment variables that change the configuration, and report them."""
    if model := os.environ.get("MERCURY_MODEL"):
        problem = f"MERCURY_MODEL is set to {model} and overrides the option model"
        report.add_problem(problem, "unset MERCURY_MODEL if you did not set it on purpose")
    return {"MERCURY_MODEL": model or None}


def check_programs(report: Report) -> dict[str, str | None]:
    """Return the version of each mercury-lsp program on the PATH by its file, in the order of the PATH."""
    folders = dict.fromkeys(filter(None, os.environ.get("PATH", "").split(os.pathsep)))
    files = [found for folder in folders if (found := shutil.which(PROGRAM, path=folder))]
    versions = {
        file: output.split()[-1]
        if (output := program_output([file, "--version"])) and output.split()
        else None
        for file in files
    }
    own_folder = Path(sys.executable).parent
    if not files:
        report.add_problem(
            f"{PROGRAM} is not on the PATH, so an editor cannot find it",
            f"add {own_folder} to the PATH, or name {own_folder / PROGRAM} in the editor's settings",
        )
    elif versions[files[0]] is None:
        report.add_problem(
            f"an editor would start {files[0]}, which does not run", f"reinstall or remove {files[0]}"
        )
    elif versions[files[0]] != __version__:
        report.add_problem(
            f"an editor would start {files[0]}, version {versions[files[0]]}, but this is version {__version__}",
            f"remove the version that you do not want, or put {own_folder} first on the PATH",
        )
    return versions


def check_server(report: Report) -> dict[str, Any] | None:
    """Start the server as an editor would, and request a suggestion.

    Return the milliseconds until each step, or None if the server failed or an earlier check has found a fatal problem.
    """
    if not report.usable:
        return None
    try:
        return asyncio.run(asyncio.wait_for(_try_server(), TRIAL_SECONDS))
    except (Failure, TimeoutError) as error:
        reason = str(error).rstrip(".") or f"no suggestion came within {TRIAL_SECONDS:.0f} s"
        report.add_problem(
            f"the server does not work over stdio: {reason}",
            "run mercury-lsp --stdio in a terminal and read its messages",
            fatal=True,
        )
        return None


async def _try_server() -> dict[str, Any]:
    scene, began = scenes()[0], time.perf_counter()
    async with Editor.start(SAMPLES_FOLDER, {"show_likelihood": 0, "deadline_ms": 60_000}) as editor:
        initialized = time.perf_counter()
        await editor.wait_until_loaded()
        ready = time.perf_counter()
        answer = await Buffer(editor, scene.uri, scene.language_id, scene.cut).complete(scene.start)
    return {
        "initialize_ms": round((initialized - began) * 1e3),
        "ready_ms": round((ready - began) * 1e3),
        "first_suggestion_ms": round(answer.ms),
        "suggested": bool(answer.text),
    }


def check_folders(report: Report) -> dict[str, Any]:
    """Return the folders that the server writes to, whether they are writable, and their free megabytes."""
    facts: dict[str, Any] = {}
    for name, folder, consequence in (
        ("cache", cache_folder(), "each server keeps its own copy of the weights in memory"),
        ("history", store.history_file().parent, "mercury-lsp stats has no data"),
    ):
        existing_folder = next(above for above in (folder, *folder.parents) if above.exists())
        free_mb = shutil.disk_usage(existing_folder).free >> 20
        writable, fix = (
            _writable(existing_folder),
            f"make yourself the owner of {existing_folder}, with write permission",
        )
        facts[name] = {"folder": str(folder), "writable": writable, "free_mb": free_mb}
        if not writable:
            report.add_problem(f"the server cannot write {folder}, so {consequence}", fix)
        elif name == "cache" and free_mb < MIN_FREE_MB:
            problem = f"only {free_mb} MB are free for {folder}, so {consequence}"
            report.add_problem(problem, f"free at least {MIN_FREE_MB} MB")
    return facts


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def recent_requests(report: Report) -> dict[str, Any] | None:
    """Return the counts of the last `RECENT_DAYS` days of the history, or None if the history cannot be read."""
    try:
        events = store.read_events(RECENT_DAYS)
    except store.HistoryError as error:
        report.add_problem(str(error).rstrip("."), "run mercury-lsp stats --clear to delete the history")
        return None
    shown = sum(event.outcome not in ("nothing", "continued") for event in events)
    causes = Counter(event.cause for event in events if event.cause)
    main_cause = next((cause for cause, _ in causes.most_common(1)), None)
    if events and not shown:
        # Another version may have recorded a cause that this version does not know.
        fixes: dict[str | None, str] = {cause.value: cause.fix for cause in Cause}
        report.add_problem(
            f"none of the {len(events)} requests in {RECENT_DAYS} days showed a suggestion; main cause: {main_cause}",
            fixes.get(main_cause) or "run mercury.explain in the editor",
        )
    return {"days": RECENT_DAYS, "requests": len(events), "shown": shown, "chief_cause_of_none": main_cause}
