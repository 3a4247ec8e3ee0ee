"""`mercury-lsp demo`: start the real server as an editor would, type into real files, and watch the ghost text.

Owns the order of the show. In each scene a piece of a line is deleted and typed again, key by key, with a request
after each key, until the ghost text is what the author wrote.
"""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from contextlib import ExitStack
from statistics import median

from rich.console import Console, OverflowMethod, RenderableType
from rich.live import Live
from rich.text import Text

from mercury_lsp.bench.editor import Buffer, Editor, Ghost
from mercury_lsp.bench.scenes import FOLDER, Scene, scenes
from mercury_lsp.cli import ghost
from mercury_lsp.errors import Failure
from mercury_lsp.syntax.document import Document

_SCENES = 8  # to play at least
_COMPLETIONS = 5  # to show at least, as long as there are scenes
_KEYS = 6  # to type in a scene at most
_CONTEXT = 3  # lines to show above the cursor's


def run(_: Namespace) -> int:
    """Play the scenes, and say how long the answers took."""
    asyncio.run(_play(Console(highlight=False, soft_wrap=not sys.stdout.isatty())))
    return 0


async def _play(output: Console) -> None:
    began = time.perf_counter()
    async with Editor.start(FOLDER, {}) as editor:
        output.print("mercury-lsp is started, over stdio, as an editor starts it; the model is loading ...")
        await editor.loaded()
        output.print(f"ready after {time.perf_counter() - began:.1f} s")
        answers: list[Ghost] = []
        shown = 0
        for number, scene in enumerate(scenes()):
            if number >= _SCENES and shown >= _COMPLETIONS:
                break
            shown += await _scene(editor, scene, output, answers)
    if not shown:
        raise Failure("The server runs, but has suggested nothing; run mercury-lsp doctor.")
    output.print(
        f"\n{shown} completions shown, {len(answers)} keystrokes answered: "
        f"p50 {median(answer.ms for answer in answers):.0f} ms from request to reply"
    )


async def _scene(editor: Editor, scene: Scene, output: Console, answers: list[Ghost]) -> bool:
    """Play one scene, and keep its last ghost text on the screen; whether there was any."""
    buffer = Buffer(editor, scene.uri, scene.language_id, scene.cut)
    best: tuple[Document, Ghost, str] | None = None
    with ExitStack() as screen:
        live = None
        if output.is_terminal:
            live = screen.enter_context(Live(console=output, auto_refresh=False, transient=True))
        for cursor in range(scene.start, min(scene.end, scene.start + _KEYS)):
            if cursor > scene.start:
                buffer.replace(cursor - 1, cursor - 1, scene.text[cursor - 1])
            if live:
                live.update(
                    _frame(scene, buffer.document, Ghost("", cursor, cursor, 0), "", True), refresh=True
                )
            answer = await buffer.complete(cursor)
            answers.append(answer)
            as_written = _accepted(buffer.document, answer) == scene.text
            if answer.text:
                best = buffer.document, answer, "as its author wrote it" if as_written else ""
            if live:
                live.update(_frame(scene, buffer.document, answer, "", True), refresh=True)
            if as_written:
                break
    buffer.close()
    if best is not None:
        overflow: OverflowMethod | None = "ellipsis" if output.is_terminal else None
        output.print(
            _frame(scene, *best, output.is_terminal), overflow=overflow, no_wrap=output.is_terminal or None
        )
    return best is not None


def _accepted(document: Document, answer: Ghost) -> str:
    """The text after Tab."""
    return document.text[: answer.start] + answer.text + document.text[answer.end :]


def _frame(scene: Scene, document: Document, answer: Ghost, remark: str, styled: bool) -> RenderableType:
    """What an editor shows, below the file's name and the latency."""
    line, _ = document.position(answer.start)
    first = max(0, line - _CONTEXT)
    last = min(line + 1, document.line_count - 1)
    before = document.text[document.span(first)[0] : answer.start]
    after = document.text[answer.end : document.span(last)[1]]
    title = Text.assemble("\n", (scene.path.name, "bold"))
    if answer.ms:
        title.append(f"  {answer.ms:.0f} ms", style="green")
    if remark:
        title.append(f"  {remark}", style="bright_black")
    return Text("\n").join([title, ghost.lines(before, answer.text, after, first + 1, styled)])
