"""Measures the latency of a keystroke, from request to reply, in the real server with the bundled files.

A latency ends with the reply, even without a suggestion. Each request is sent right after its change, as editors
without a debounce do, except in `measure_prefetch`.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.progress import Progress

from mercury_lsp.bench.against import latency_percentiles
from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.bench.scenes import SAMPLES_FOLDER, Scene, scenes

_KEYS_PER_SCENE = 3
# Each visit opens a file that is not in the cache.
_VISITS_PER_FILE = 2
# The two lengths of context at which the latency of a key is compared.
SHORT_TOKENS, LONG_TOKENS = 512, 4096
# In a context: tokens that are reserved for the layout and the middle, and tokens after the cursor.
_RESERVED_TOKENS = 160
_SUFFIX_TOKENS = 192
# Scenes of the largest file, and keys typed in each.
_CONTEXT_SCENES, _CONTEXT_KEYS = 4, 6
# The debounce between a key and its request in VS Code and other editors, and the number of such keys in a scene.
DEBOUNCE_SECONDS, _DEBOUNCED_KEYS = 0.075, 4
# The time between a suggestion and its acceptance.
READING_SECONDS = 1.0


@dataclass(slots=True)
class Measurements:
    """The server's times in milliseconds, and its memory in MB, or None if the memory cannot be read."""

    initialize: float = 0.0
    ready: float = 0.0
    rss: float | None = None
    keystrokes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


async def measure_keystrokes(settings: dict[str, object], progress: Progress) -> Measurements:
    """Start the server, type in the bundled files, and return the times by kind of keystroke.

    `cold`: the first request in a file. `moved`: the first request at another place of the file. `typing`: a request
    after one more character. `pair`: a request after an opening bracket that the editor has closed automatically.
    """
    measured, began = Measurements(), time.perf_counter()
    async with Editor.start(SAMPLES_FOLDER, settings) as editor:
        measured.initialize = (time.perf_counter() - began) * 1e3
        await editor.wait_until_loaded()
        measured.ready = (time.perf_counter() - began) * 1e3
        for visit in progress.track(_group_by_visit(), description="keystrokes"):
            buffer = Buffer(editor, visit[0].uri, visit[0].language_id, visit[0].cut)
            for number, scene in enumerate(visit):
                if number:
                    buffer.replace(0, len(buffer.document.text), scene.text)
                    buffer.replace(scene.start, scene.end, "")
                await _type(buffer, scene, "moved" if number else "cold", measured.keystrokes)
            buffer.close()
        measured.rss = _resident_mb(editor.pid)
    return measured


def _group_by_visit() -> list[Sequence[Scene]]:
    """Group the scenes by file and visit, ordered so that no two visits of a file follow each other."""
    files: dict[Path, list[Scene]] = defaultdict(list)
    for scene in scenes():
        files[scene.path].append(scene)
    return [
        file_scenes[visit::_VISITS_PER_FILE]
        for visit in range(_VISITS_PER_FILE)
        for file_scenes in files.values()
    ]


async def _type(buffer: Buffer, scene: Scene, kind: str, times: dict[str, list[float]]) -> None:
    """Request a suggestion at the scene's start, as `kind`, after each of a few keys, and after a pair."""
    times[kind].append((await buffer.complete(scene.start)).ms)
    typed = scene.original[:_KEYS_PER_SCENE]
    times["typing"] += await buffer.type(scene.start, typed)
    cursor = scene.start + len(typed)
    buffer.replace(cursor, cursor, "(")
    buffer.replace(cursor + 1, cursor + 1, ")")
    times["pair"].append((await buffer.complete(cursor + 1)).ms)


async def measure_prefetch(
    settings: Mapping[str, object], places: Sequence[Scene]
) -> dict[str, dict[str, float] | None]:
    """Measure the effect of prefetch and of the cache: milliseconds from request to reply, by the way of typing.

    `typed_through`: after each typed character of a suggestion. `accepted`: after an accepted suggestion.
    `debounced_75_ms`: after keys with a debounce of 75 ms, and `debounced_75_ms_without`: the same without prefetch.
    Each has p50, p95 and the number n, or is None if there was no suggestion.
    """
    times: dict[str, list[float]] = defaultdict(list)
    async with Editor.start(SAMPLES_FOLDER, {**settings, "anticipate": True}) as editor:
        await editor.wait_until_loaded()
        for number, scene in enumerate(places):
            buffer = Buffer(editor, scene.uri, scene.language_id, scene.cut)
            await _accept(buffer, scene, times["accepted"])
            ghost = await buffer.complete(scene.start)
            times["typed_through"] += await buffer.type(scene.start, ghost.text[:-1])
            # Both come first equally often.
            for anticipate in (number % 2 == 0, number % 2 == 1):
                # Delete the typed text.
                typed = len(buffer.document.text) - len(scene.cut)
                buffer.replace(scene.start, scene.start + typed, "")
                _configure(editor, anticipate)
                name = "debounced_75_ms" if anticipate else "debounced_75_ms_without"
                await buffer.complete(scene.start)
                keys = scene.original[:_DEBOUNCED_KEYS]
                times[name] += await buffer.type(scene.start, keys, DEBOUNCE_SECONDS)
            _configure(editor, True)
            buffer.close()
    return {
        name: latency_percentiles(latencies) | {"n": len(latencies)} if latencies else None
        for name, latencies in times.items()
    }


def _configure(editor: Editor, anticipate: bool) -> None:
    editor.notify("workspace/didChangeConfiguration", {"settings": {"anticipate": anticipate}})


async def _accept(buffer: Buffer, scene: Scene, times: list[float]) -> None:
    """Accept a suggestion after `READING_SECONDS`, time the next request, and undo the acceptance."""
    ghost = await buffer.complete(scene.start)
    if ghost.text:
        await asyncio.sleep(READING_SECONDS)
        replaced, end = buffer.document.text[ghost.start : ghost.end], ghost.start + len(ghost.text)
        buffer.replace(ghost.start, ghost.end, ghost.text)
        times.append((await buffer.complete(end)).ms)
        buffer.replace(ghost.start, end, replaced)


async def measure_context_lengths(
    settings: dict[str, object], count_tokens: Callable[[str], int], progress: Progress
) -> dict[str, float]:
    """Return the median milliseconds of a key by tokens of context, `SHORT_TOKENS` and `LONG_TOKENS`, in one server.

    The same keys are typed at the same places of the largest bundled file: cut to the short context, and for the long
    context after the other bundled files, in which prompt lookup finds no draft. The document limits the context, not
    the option.
    """
    settings = {**settings, "context_tokens": 2 * LONG_TOKENS}
    times: dict[int, list[float]] = {SHORT_TOKENS: [], LONG_TOKENS: []}
    largest = max(scenes(), key=lambda scene: len(scene.text)).path
    places = [scene for scene in scenes() if scene.path == largest][:_CONTEXT_SCENES]
    async with Editor.start(SAMPLES_FOLDER, settings) as editor:
        await editor.wait_until_loaded()
        for scene in progress.track(places, description="long contexts"):
            for size in times:
                text, cursor = build_context(scene, size, count_tokens)
                buffer = Buffer(editor, scene.uri, scene.language_id, text)
                await buffer.complete(cursor)
                times[size] += await buffer.type(cursor, scene.original[:_CONTEXT_KEYS])
                buffer.close()
    return {str(size): round(median(spent), 1) for size, spent in times.items()}


def build_context(scene: Scene, tokens: int, count_tokens: Callable[[str], int]) -> tuple[str, int]:
    """Return a document of at most ``tokens`` tokens, made of whole lines around a scene's cursor, and the cursor.

    `LONG_TOKENS` is the longest context of the model, so some tokens are reserved for the layout and the middle.
    """
    tokens = min(tokens, LONG_TOKENS - _RESERVED_TOKENS)
    before, after = scene.cut[: scene.start], scene.cut[scene.start :]
    lines = after.splitlines(keepends=True)
    below = _longest_text(lambda size: "".join(lines[:size]), len(lines), _SUFFIX_TOKENS, count_tokens)
    others = "".join(dict.fromkeys(other.text for other in scenes() if other.path != scene.path))
    copies = 1 + tokens // count_tokens(others)
    lines = (others * copies + before).splitlines(keepends=True)
    prefix_budget = tokens - count_tokens(below)
    above = _longest_text(
        lambda size: "".join(lines[len(lines) - size :]), len(lines), prefix_budget, count_tokens
    )
    return above + below, len(above)


def _longest_text(
    text: Callable[[int], str], sizes: int, tokens: int, count_tokens: Callable[[str], int]
) -> str:
    """Return the longest text with at most ``tokens`` tokens; ``text`` gives the text of each size up to ``sizes``."""
    return text(bisect_right(range(1, sizes + 1), tokens, key=lambda size: count_tokens(text(size))))


def _resident_mb(pid: int) -> float | None:
    """Return the resident memory of a process in MB, from /proc or ps; None if neither works."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes = status.partition("VmRSS:")[2].split()[0]
    except OSError:
        try:
            kilobytes = subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)], text=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    return round(int(kilobytes) / 1024)
