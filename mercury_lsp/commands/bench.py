"""`mercury-lsp bench`: latencies at the protocol's boundary, and the speed of both decoders, on this machine.

Owns what is measured and how it is named. Keystrokes go to the real server, each request right behind its change,
over the bundled files; a latency runs from the request to its reply, whether or not something is suggested. Then the
decoders run in this process, in turn on the same requests; their times leave out the reading of the prompt.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mercury_lsp.commands import BadUsage, engine_of
from mercury_lsp.commands.editor import Buffer, Editor
from mercury_lsp.commands.scenes import FOLDER, Scene, scenes
from mercury_lsp.complete import Snapshot, complete
from mercury_lsp.config import Config, parse
from mercury_lsp.context import prompt
from mercury_lsp.context.document import Document

if TYPE_CHECKING:
    from mercury_lsp.engine.infill import Engine, Infill

_KEYS = 3  # typed in each scene
_VISITS = 2  # of each file, which is opened cold each time
_ROWS = (8, 16, 32)
_DECODED = 12  # scenes that both decoders complete
_MODES = ("diffusion", "autoregressive")


def run(arguments: Namespace) -> int:
    """Measure, and print the figures."""
    given: dict[str, object] = {"model": arguments.model, "device": arguments.device}
    given |= {"anticipate": False, "deadline_ms": 60_000}  # what each answer takes by itself, whole
    if arguments.context is not None:
        following = arguments.context * Config().following_tokens // _window(Config())
        given |= {"prefix_tokens": arguments.context - following, "following_tokens": following}
    settings = {name: value for name, value in given.items() if value is not None}
    config, problems = parse(settings)
    if problems:
        raise BadUsage(problems[0])
    with Progress(console=Console(stderr=True), transient=True) as progress:
        measured = asyncio.run(_keystrokes(settings, progress))
        engine = engine_of(config)
        figures = _figures(config, engine, measured, progress)
    if arguments.json:
        print(json.dumps(figures))
    else:
        Console().print(_table(figures))
    return 0


def _window(config: Config) -> int:
    return config.prefix_tokens + config.following_tokens


@dataclass(slots=True)
class _Measured:
    """What the server took: times in milliseconds, memory in MB or None where it cannot be read."""

    initialize: float = 0.0
    ready: float = 0.0
    rss: float | None = None
    keystrokes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


async def _keystrokes(settings: dict[str, object], progress: Progress) -> _Measured:
    """Start the server, and type in its bundled files.

    `cold`: the first request in a file; `moved`: the first one at another place of it; `typing`: a character later;
    `pair`: an opening bracket later, to which the editor has added the closing one.
    """
    measured, began = _Measured(), time.perf_counter()
    async with Editor.start(FOLDER, settings) as editor:
        measured.initialize = (time.perf_counter() - began) * 1e3
        await editor.loaded()
        measured.ready = (time.perf_counter() - began) * 1e3
        for visit in progress.track(_visits(), description="keystrokes"):
            buffer = Buffer(editor, visit[0].uri, visit[0].language_id, visit[0].cut)
            for number, scene in enumerate(visit):
                if number:
                    buffer.replace(0, len(buffer.document.text), scene.text)
                    buffer.replace(scene.start, scene.end, "")
                await _type(buffer, scene, "moved" if number else "cold", measured.keystrokes)
            buffer.close()
        measured.rss = _resident(editor.pid)
    return measured


def _visits() -> list[Sequence[Scene]]:
    """Groups of scenes of one file, such that no two visits of a file follow each other."""
    files: dict[Path, list[Scene]] = defaultdict(list)
    for scene in scenes():
        files[scene.path].append(scene)
    return [own[visit::_VISITS] for visit in range(_VISITS) for own in files.values()]


async def _type(buffer: Buffer, scene: Scene, kind: str, times: dict[str, list[float]]) -> None:
    """Ask at the scene's beginning, which is one `kind` of keystroke, and after each key typed there."""
    times[kind].append((await buffer.complete(scene.start)).ms)
    cursor = scene.start
    for key in scene.original[:_KEYS]:
        buffer.replace(cursor, cursor, key)
        cursor += 1
        times["typing"].append((await buffer.complete(cursor)).ms)
    buffer.replace(cursor, cursor, "(")
    buffer.replace(cursor + 1, cursor + 1, ")")
    times["pair"].append((await buffer.complete(cursor + 1)).ms)


def _figures(config: Config, engine: Engine, measured: _Measured, progress: Progress) -> dict[str, object]:
    decoded = _decode(config, engine, progress)
    speed = {
        mode: sum(infill.tokens for infill in infills) / sum(infill.ms_denoise for infill in infills) * 1e3
        for mode, infills in decoded.items()
    }
    passes = sum(infill.forward_passes for infill in decoded["diffusion"])
    return {
        "model": engine.name,
        "device": engine.device,
        "threads": engine.threads,
        "context_tokens": _window(config),
        "keystroke_ms": {
            kind: {"p50": round(median(times), 1), "p95": round(_p95(times), 1)}
            for kind, times in measured.keystrokes.items()
        },
        "with_speculation": None,  # there is none in this version
        "step_ms": _steps(config, engine, progress),
        "tokens_per_s": {mode: round(value, 1) for mode, value in speed.items()},
        "tokens_per_pass": round(sum(infill.tokens for infill in decoded["diffusion"]) / passes, 2),
        "ratio_diffusion_over_autoregressive": round(speed["diffusion"] / speed["autoregressive"], 2),
        "start_ms": {"initialize": round(measured.initialize), "ready": round(measured.ready)},
        "rss_mb": measured.rss,
    }


def _decode(config: Config, engine: Engine, progress: Progress) -> dict[str, list[Infill]]:
    """Both decoders' answers to the same requests."""
    infills: dict[str, list[Infill]] = {mode: [] for mode in _MODES}
    for number, scene in enumerate(progress.track(scenes()[:_DECODED], description="decoders")):
        for mode in _MODES if number % 2 else reversed(_MODES):  # either is first as often
            snapshot = Snapshot(_document(scene), replace(config, mode=mode))
            completion = complete(snapshot, scene.start, engine)
            if completion is not None:  # always: none of the files is one that is declined
                infills[mode].append(completion.infill)
    return infills


def _steps(config: Config, engine: Engine, progress: Progress) -> dict[str, float]:
    """Milliseconds of one denoising step behind a cached context, by the rows of its block."""
    from mercury_lsp.engine.infill import Sampling  # imports numpy

    times: dict[int, list[float]] = {rows: [] for rows in _ROWS}
    for scene in progress.track(scenes()[:_DECODED], description="steps"):
        question = prompt.build(
            scene.path.name,
            scene.cut[: scene.start],
            scene.cut[scene.start :],
            engine.count,
            config.prefix_tokens,
            config.following_tokens,
        )
        engine.prefill(question)
        for rows in _ROWS:
            infill = engine.infill(
                question, Sampling(verify=False, block=rows, max_tokens=rows, max_passes=4)
            )
            times[rows].append(infill.ms_denoise / infill.forward_passes)
    return {str(rows): round(median(own), 1) for rows, own in times.items()}


def _document(scene: Scene) -> Document:
    return Document(scene.uri, scene.path.name, scene.language_id, 1, scene.cut)


def _p95(times: Sequence[float]) -> float:
    """The least time that 95% of the times do not exceed."""
    return sorted(times)[math.ceil(0.95 * len(times)) - 1]


def _resident(pid: int) -> float | None:
    """Resident memory of a process in MB, by Linux or by ps; None where neither tells."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes = status.partition("VmRSS:")[2].split()[0]
    except OSError:
        try:
            kilobytes = subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)], text=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    return round(int(kilobytes) / 1024)


def _table(figures: dict[str, object]) -> Table:
    """The figures as rows of their names and values."""
    table = Table(show_header=False, box=None)
    for name, value in figures.items():
        if isinstance(value, dict):
            for part, inner in value.items():
                both = f"p50 {inner['p50']}  p95 {inner['p95']}" if isinstance(inner, dict) else str(inner)
                table.add_row(f"{name}.{part}", both)
        elif value is not None:
            table.add_row(name, str(value))
    return table
