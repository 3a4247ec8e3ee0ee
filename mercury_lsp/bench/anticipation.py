"""Measures the gain of working ahead and of remembered results, at the protocol's boundary.

Three ways of typing are measured in one server over the bundled files: through a suggestion, after an accepted one, and
with a request that comes an editor's debounce after its change.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from mercury_lsp.bench.against import spread
from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.bench.scenes import FOLDER, Scene

# Between a key and its request, in VS Code and others.
DEBOUNCE_SECONDS = 0.075
# Between a suggestion and its acceptance.
READING_SECONDS = 1.0
_KEYS_PER_SCENE = 4

Times = dict[str, list[float]]
Figures = dict[str, dict[str, float] | None]


async def measure(settings: Mapping[str, object], places: Sequence[Scene]) -> Figures:
    """Milliseconds from request to reply, p50, p95 and number of each way of typing; None without a suggestion.

    `typed_through`: each character of a suggestion. `accepted`: the request after an
    accepted suggestion. `debounced_75_ms`: keys whose requests come so much later than their changes, and
    `.._without` any work ahead.
    """
    times: Times = defaultdict(list)
    async with Editor.start(FOLDER, {**settings, "anticipate": True}) as editor:
        await editor.loaded()
        for number, scene in enumerate(places):
            buffer = Buffer(editor, scene.uri, scene.language_id, scene.cut)
            await _accept(buffer, scene, times["accepted"])
            await _type_through(buffer, scene, times["typed_through"])
            # In alternating order.
            for anticipate in (number % 2 == 0, number % 2 == 1):
                # Delete what was typed.
                typed = len(buffer.document.text) - len(scene.cut)
                buffer.replace(scene.start, scene.start + typed, "")
                _configure(editor, anticipate)
                name = "debounced_75_ms" if anticipate else "debounced_75_ms_without"
                await _type_slowly(buffer, scene, times[name])
            _configure(editor, True)
            buffer.close()
    return {name: spread(own) | {"n": len(own)} if own else None for name, own in times.items()}


async def _accept(buffer: Buffer, scene: Scene, times: list[float]) -> None:
    """Accept a suggestion a while after it came, and undo it."""
    ghost = await buffer.complete(scene.start)
    if ghost.text:
        await asyncio.sleep(READING_SECONDS)
        replaced, end = buffer.document.text[ghost.start : ghost.end], ghost.start + len(ghost.text)
        buffer.replace(ghost.start, ghost.end, ghost.text)
        times.append((await buffer.complete(end)).ms)
        buffer.replace(ghost.start, end, replaced)


async def _type_through(buffer: Buffer, scene: Scene, times: list[float]) -> None:
    """Type all but the last character of a suggestion."""
    ghost = await buffer.complete(scene.start)
    for typed, key in enumerate(ghost.text[:-1]):
        cursor = scene.start + typed
        buffer.replace(cursor, cursor, key)
        times.append((await buffer.complete(cursor + 1)).ms)


async def _type_slowly(buffer: Buffer, scene: Scene, times: list[float]) -> None:
    """Type the original text, each request a debounce after its key."""
    await buffer.complete(scene.start)
    for typed, key in enumerate(scene.original[:_KEYS_PER_SCENE]):
        cursor = scene.start + typed
        buffer.replace(cursor, cursor, key)
        await asyncio.sleep(DEBOUNCE_SECONDS)
        times.append((await buffer.complete(cursor + 1)).ms)


def _configure(editor: Editor, anticipate: bool) -> None:
    settings = {"settings": {"anticipate": anticipate}}
    editor.notify("workspace/didChangeConfiguration", settings)
