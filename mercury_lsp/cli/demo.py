"""Types into real files as a user would, and shows the suggestions of the real server: `mercury-lsp demo`.

The server is started over stdio, as an editor starts it. In each scene a piece of a line is deleted and typed again: a
key, a request, the drafts of the answer, and Tab as soon as the suggestion matches the author's text. Every suggested
text comes from the server; wrong suggestions are shown, too, and typed over.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from argparse import Namespace
from statistics import median

from rich.console import Console

from mercury_lsp.bench.editor import Buffer, Draft, Editor, GhostText
from mercury_lsp.bench.scenes import SAMPLES_FOLDER, Scene, scenes
from mercury_lsp.cli.demo_screen import PlainLines, Screen, View
from mercury_lsp.errors import Failure

# The first scene of each file, whatever its outcome; the last file comes first.
_SCENES = tuple(reversed(scenes()[:6]))
# No scene begins after this time.
_MAX_SECONDS = 17.0
# The least number of characters for which the typist presses Tab.
_MIN_TAB_CHARACTERS = 2
# A suggestion stays on the screen until the next answer, if that answer comes within a frame or two.
_FLICKER_SECONDS = 0.03
# Long, so that a slow machine shows the same suggestions, only later; editors use the default.
_DEADLINE_MS = 5_000


def run(arguments: Namespace) -> int:
    """Play the scenes and print the number of keys and the next steps; return the exit status."""
    output = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    is_live = output.is_terminal and not output.is_dumb_terminal
    delays = TypingDelays(1.0 if is_live and not arguments.fast else 0.0)
    asyncio.run(_play(output, Screen(output) if is_live else PlainLines(output), delays))
    return 0


class TypingDelays:
    """The time that a person takes for a key, a look and a decision; `scale` multiplies it, and 0 means no wait."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._random = random.Random(1)

    def key_seconds(self, key: str) -> float:
        """Draw a random time before a key: about a twelfth of a second, longer if the key is not alphanumeric."""
        seconds = self._random.lognormvariate(-2.6, 0.35)
        return seconds * (1 if key.isalnum() else 1.5) * self.scale

    async def pause(self, seconds: float) -> None:
        """Wait, so that the audience can read the screen."""
        if self.scale:
            await asyncio.sleep(seconds * self.scale)


async def _play(output: Console, display: Screen | PlainLines, delays: TypingDelays) -> None:
    began = time.perf_counter()
    drafts = asyncio.Queue[Draft | None]()
    on_draft = drafts.put_nowait if delays.scale else None
    async with Editor.start(SAMPLES_FOLDER, {"deadline_ms": _DEADLINE_MS}, on_draft=on_draft) as editor:
        output.print("Starting the server over stdio, as an editor does, and loading the model ...")
        await editor.wait_until_loaded()
        output.print(f"Ready after {time.perf_counter() - began:.1f} s. No text leaves this machine.\n")
        began = time.perf_counter()
        typist = Typist(editor, display, delays, drafts)
        with display.live:
            for scene in _SCENES:
                if time.perf_counter() - began > _MAX_SECONDS:
                    break
                await typist.type(scene)
    if not display.suggested:
        raise Failure("The server runs but suggested nothing; run mercury-lsp doctor.")
    keys_without_mercury = typist.keys - typist.tabs + typist.accepted
    output.print(
        f"\n{typist.keys} keys instead of {keys_without_mercury}: {1 - typist.keys / keys_without_mercury:.0%} saved. "
        f"{len(typist.ms)} requests: p50 {median(typist.ms):.0f} ms from request to reply.\n"
        "Next, set up your own editor in three steps: see docs/editors.md."
    )


class Typist:
    """Types scenes in an editor.

    `keys`: the pressed keys, including Tab. `tabs`: the pressed Tabs. `accepted`: the characters that they inserted.
    `ms`: the latency of each answer, in milliseconds.
    """

    def __init__(
        self,
        editor: Editor,
        display: Screen | PlainLines,
        delays: TypingDelays,
        drafts: asyncio.Queue[Draft | None],
    ) -> None:
        self._editor, self._display, self._delays, self._drafts = editor, display, delays, drafts
        self.keys = self.tabs = self.accepted = 0
        self.ms: list[float] = []

    async def type(self, scene: Scene) -> None:
        """Request suggestions, and accept or type, until the text of the scene is complete again."""
        self._scene, self._cursor, self._accepted_ranges = scene, scene.start, list[tuple[int, int]]()
        self._buffer = Buffer(self._editor, scene.uri, scene.language_id, scene.cut)
        self._display.begin(scene)
        while self._cursor < scene.end:
            answer = await self._request()
            self.ms.append(answer.ms)
            self._show(answer)
            if (
                gain := matching_characters(scene, self._buffer.document.text, answer, self._cursor)
            ) >= _MIN_TAB_CHARACTERS:
                await self._accept(answer, gain)
            else:
                await self._type_key()
        self._show()
        await self._delays.pause(0.3)
        self._display.end(scene, self._accepted_ranges)
        self._buffer.close()

    async def _request(self) -> GhostText:
        """Request a suggestion, show each of its drafts long enough to be seen, and return the answer."""
        request = asyncio.ensure_future(self._buffer.complete(self._cursor))
        request.add_done_callback(lambda _: self._drafts.put_nowait(None))
        try:
            await asyncio.wait({request}, timeout=_FLICKER_SECONDS)
            if not request.done():
                self._show()
            while (draft := await self._drafts.get()) is not None:
                document = self._buffer.document
                if (draft.version, draft.position) == (document.version, document.position(self._cursor)):
                    self._show(draft=draft)
                    await self._delays.pause(0.1)
            return await request
        finally:
            request.cancel()

    async def _accept(self, answer: GhostText, gain: int) -> None:
        """Look at a suggestion and press Tab, which inserts `gain` characters of the author's text."""
        await self._delays.pause(0.45)
        self._show(answer, tab=True)
        await self._delays.pause(0.35)
        self._buffer.replace(answer.start, answer.end, answer.text)
        self._accepted_ranges.append((self._cursor, self._cursor + gain))
        self._cursor += gain
        self.keys += 1
        self.tabs += 1
        self.accepted += gain

    async def _type_key(self) -> None:
        key = self._scene.text[self._cursor]
        await self._delays.pause(self._delays.key_seconds(key))
        self._buffer.replace(self._cursor, self._cursor, key)
        self._cursor += 1
        self.keys += 1

    def _show(self, answer: GhostText | None = None, draft: Draft | None = None, tab: bool = False) -> None:
        start = end = self._cursor
        text, rest, status = "", "", f"keys pressed {self.keys}, saved {self.accepted - self.tabs}"
        if draft is not None:
            text, rest = draft.committed, draft.rest
            status += f"  draft after pass {draft.forward_pass}"
        elif answer is not None:
            text, start, end = answer.text, answer.start, answer.end
            status += f"  answered in {answer.ms:.0f} ms"
        view = View(self._buffer.document, start, end, text, rest, status, tab, tuple(self._accepted_ranges))
        self._display.show(view)


def matching_characters(scene: Scene, text: str, answer: GhostText, cursor: int) -> int:
    """Return how many of the author's characters Tab would add at the cursor; 0 if the text differs from theirs."""
    after = text[: answer.start] + answer.text
    if answer.text and after + text[answer.end :] == scene.text:
        return scene.end - cursor
    fits = answer.end == cursor and len(after) <= scene.end and scene.text.startswith(after)
    return max(0, len(after) - cursor) if fits else 0
