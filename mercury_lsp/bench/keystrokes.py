"""What a keystroke costs, from request to reply, in the real server with the bundled files open in it.

Owns what is typed where, and the clocks. Each request is sent right behind its change, as editors without a delay of
their own do; a latency runs to the reply, whether or not something is suggested. Knows no engine.
"""

from __future__ import annotations

import subprocess
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.progress import Progress

from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.bench.scenes import FOLDER, Scene, scenes

_KEYS = 3  # typed in each scene
_VISITS = 2  # of each file, which is opened cold each time
SHORT, FAR = 512, 4096  # tokens of context between which the cost of a key is compared
_MIDDLE = 160  # tokens of the larger context that are left for the layout and what is written
_BELOW = 192  # tokens of it below the cursor's line
_PLACES, _LONG_KEYS = 4, 6  # scenes of the largest file, and keys typed in each


@dataclass(slots=True)
class Measured:
    """What the server took: times in milliseconds, memory in MB or None where it cannot be read."""

    initialize: float = 0.0
    ready: float = 0.0
    rss: float | None = None
    keystrokes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


async def keystrokes(settings: dict[str, object], progress: Progress) -> Measured:
    """Start the server, and type in its bundled files.

    `cold`: the first request in a file; `moved`: the first one at another place of it; `typing`: a character later;
    `pair`: an opening bracket later, to which the editor has added the closing one.
    """
    measured, began = Measured(), time.perf_counter()
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


async def typing_by_context(
    settings: dict[str, object], count: Callable[[str], int], progress: Progress
) -> dict[str, float]:
    """The median cost of a typed key by tokens of context, `SHORT` and `FAR`, in one server.

    The same keys at the same places of the largest bundled file: cut down to the short context, and with the other
    bundled files above it, in which no draft is found, up to the far one. The document sets the context, not the
    budget.
    """
    settings = {**settings, "context_tokens": 2 * FAR}
    times: dict[int, list[float]] = {SHORT: [], FAR: []}
    largest = max(scenes(), key=lambda scene: len(scene.text)).path
    places = [scene for scene in scenes() if scene.path == largest][:_PLACES]
    async with Editor.start(FOLDER, settings) as editor:
        await editor.loaded()
        for scene in progress.track(places, description="long contexts"):
            for size in times:
                text, cursor = context_of(scene, size, count)
                buffer = Buffer(editor, scene.uri, scene.language_id, text)
                await buffer.complete(cursor)
                for key in scene.original[:_LONG_KEYS]:
                    buffer.replace(cursor, cursor, key)
                    cursor += 1
                    times[size].append((await buffer.complete(cursor)).ms)
                buffer.close()
    return {str(size): round(median(spent), 1) for size, spent in times.items()}


def context_of(scene: Scene, tokens: int, count: Callable[[str], int]) -> tuple[str, int]:
    """A document of whole lines around a scene's cursor, and the cursor in it. It has at most so many tokens; of
    `FAR`, as far as the model can see, some are left for the layout and what is written."""
    tokens = min(tokens, FAR - _MIDDLE)
    before, after = scene.cut[: scene.start], scene.cut[scene.start :]
    lines = after.splitlines(keepends=True)
    below = _most(lambda size: "".join(lines[:size]), len(lines), _BELOW, count)
    others = "".join(dict.fromkeys(other.text for other in scenes() if other.path != scene.path))
    copies = 1 + tokens // count(others)
    lines = (others * copies + before).splitlines(keepends=True)
    room = tokens - count(below)
    above = _most(lambda size: "".join(lines[len(lines) - size :]), len(lines), room, count)
    return above + below, len(above)


def _most(text: Callable[[int], str], sizes: int, tokens: int, count: Callable[[str], int]) -> str:
    """The largest of the texts of growing sizes that has at most so many tokens."""
    return text(bisect_right(range(1, sizes + 1), tokens, key=lambda size: count(text(size))))


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
