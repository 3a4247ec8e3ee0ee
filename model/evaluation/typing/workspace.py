"""Runs the real server in the workspace of a held-out package, and types the package's lines there.

Each package gets its own server, started as an editor starts it. The package's files are in a temporary folder, without
the lines to type, since an unwritten line is not on the disk.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from mercury_lsp.bench.editor import SERVER, Buffer, Editor, GhostText
from mercury_lsp.errors import Failure
from model.data.corpus import Source
from model.evaluation.heldout.cursors import Cursor
from model.evaluation.typing.ideal_typist import Answer, Line, Suggestion, completes_word, type_line
from model.evaluation.typing.records import BegunWord, TypedLine

SETTLED = 1.5
"""Seconds without work or progress display after which a server counts as ready.

The server displays the progress of reading a workspace only after a second.
"""
PREPARATION = 120.0
"""Seconds that a server may take to be ready once its model is loaded."""
POLL = 0.1
PATIENT: Mapping[str, object] = {"deadline_ms": 60_000}
"""Settings that make the suggestions independent of the machine's load; late answers are counted."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server to measure: its settings and its command; for `checkout`, see `Editor.start`."""

    settings: Mapping[str, object] = field(default_factory=dict)
    command: tuple[str, ...] = SERVER
    checkout: Path | None = None

    @asynccontextmanager
    async def server(self, folder: Path) -> AsyncIterator[Editor]:
        """Start the server, and wait until the model is loaded and the folder is read."""
        settings = {**PATIENT, **self.settings}
        async with Editor.start(folder, settings, self.command, self.checkout) as editor:
            await editor.wait_until_loaded()
            await _settled(editor)
            yield editor


class LineScreen:
    """A line that is typed in an open document."""

    def __init__(self, buffer: Buffer, cursor: int) -> None:
        self._buffer, self._cursor = buffer, cursor

    async def ask(self) -> Answer:
        """Make an automatic request at the cursor."""
        ghost = await self._buffer.complete(self._cursor)
        return Answer(suggestion(ghost, self._buffer.document.text, self._cursor), ghost.ms)

    def edit(self, replaced: int, text: str, forward: int) -> None:
        """Replace ``replaced`` characters after the cursor by a text, and move the cursor forward."""
        self._buffer.replace(self._cursor, self._cursor + replaced, text)
        self._cursor += forward


def suggestion(ghost: GhostText, text: str, cursor: int) -> Suggestion | None:
    """Return the part of a ghost text after the cursor; None if there is no ghost text."""
    if not ghost.text:
        return None
    return Suggestion(ghost.text.removeprefix(text[ghost.start : cursor]), max(0, ghost.end - cursor))


async def type_package(
    contender: Contender,
    files: Sequence[Source],
    cursors: Sequence[Cursor],
    below: bool = True,
    closing: bool = True,
) -> AsyncIterator[TypedLine]:
    """Type lines of a package one after another.

    `below`: whether the lines below stay in the file. `closing`: whether the editor closes brackets and quotes.
    """
    with _workspace(files, cursors, below) as folder:
        async with contender.server(folder) as editor:
            model = await _model(editor)
            for cursor in cursors:
                source = cursor.source
                line = _line(cursor, below)
                buffer, place = await _opened(editor, folder, cursor, below)
                keys = await type_line(LineScreen(buffer, place), line, closing)
                buffer.close()
                yield TypedLine(
                    model=model,
                    language=source.language,
                    package=source.package,
                    path=source.path,
                    start=cursor.start,
                    below=below,
                    text=line.text,
                    keys=tuple(keys),
                )


async def ask_words(
    contender: Contender, files: Sequence[Source], cursors: Sequence[Cursor], below: bool = True
) -> AsyncIterator[BegunWord]:
    """Make manual requests within identifiers; the line ends at the cursor."""
    with _workspace(files, cursors, below) as folder:
        async with contender.server(folder) as editor:
            model = await _model(editor)
            for cursor in cursors:
                source = cursor.source
                text = source.text[: cursor.start] + (source.text[cursor.end :] if below else "")
                buffer = _open(editor, folder, cursor, text)
                ghost = await buffer.complete(cursor.start, invoked=True)
                found = suggestion(ghost, text, cursor.start)
                buffer.close()
                yield BegunWord(
                    model=model,
                    language=source.language,
                    package=source.package,
                    path=source.path,
                    start=cursor.start,
                    below=below,
                    begun=source.text[: cursor.start].rpartition("\n")[2],
                    rest=cursor.hole,
                    shown=None if found is None else found.text,
                    word=completes_word(cursor.hole, found),
                    line=found is not None and found.text.split("\n")[0].rstrip() == cursor.hole.rstrip(),
                    ms=round(ghost.ms, 2),
                )


def by_package(cursors: Iterable[Cursor]) -> dict[str, list[Cursor]]:
    """Group cursors by package, sorted by file."""
    found: dict[str, list[Cursor]] = defaultdict(list)
    for cursor in sorted(cursors, key=lambda one: (one.source.package, one.source.path, one.start)):
        found[cursor.source.package].append(cursor)
    return dict(found)


def _line(cursor: Cursor, below: bool) -> Line:
    text = cursor.hole.rstrip()
    return Line(text, "" if below else cursor.source.text[cursor.start + len(text) :])


async def _opened(editor: Editor, folder: Path, cursor: Cursor, below: bool) -> tuple[Buffer, int]:
    """Open a file without the cursor's line, then add a new line there, as after Enter; return buffer and cursor.

    The editor also makes a request at the end of the line above, where the typist comes from; that does not count.
    """
    text = cursor.source.text
    above = max(0, text.rfind("\n", 0, cursor.start))
    rest = text[cursor.end :] if below else ""
    buffer = _open(editor, folder, cursor, text[:above] + rest)
    await buffer.complete(above)
    fresh = text[above : cursor.start]
    buffer.replace(above, above, fresh)
    return buffer, cursor.start


def _open(editor: Editor, folder: Path, cursor: Cursor, text: str) -> Buffer:
    uri = (folder / cursor.source.path).as_uri()
    return Buffer(editor, uri, cursor.document().language_id, text)


@contextmanager
def _workspace(files: Sequence[Source], cursors: Sequence[Cursor], below: bool) -> Iterator[Path]:
    """Create a temporary folder, named like the package, with the package's files without the lines to type."""
    cut: dict[str, list[int]] = defaultdict(list)
    for cursor in cursors:
        cut[cursor.source.path].append(cursor.start)
    with TemporaryDirectory(prefix="mercury-typing-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary).resolve() / cursors[0].source.package
        for source in files:
            path = PurePosixPath(source.path)
            if path.is_absolute() or ".." in path.parts:
                continue
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            text = without_lines(source.text, cut[source.path], below)
            file.write_text(text, encoding="utf-8", newline="\n")
        yield folder


def without_lines(text: str, offsets: Iterable[int], below: bool) -> str:
    """Remove the lines at some offsets from a text; if not `below`, remove everything from the first of them on."""
    for offset in sorted(offsets, reverse=True):
        start = text.rfind("\n", 0, offset) + 1
        end = text.find("\n", offset) + 1
        text = text[:start] + (text[end:] if below and end else "")
    return text


async def _settled(editor: Editor) -> None:
    """Wait until the server is idle and displays no progress, such as that of reading the workspace.

    Raises `Failure` if that takes longer than `PREPARATION`.
    """
    until = time.monotonic() + PREPARATION
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < SETTLED:
        if time.monotonic() > until:
            raise Failure(f"The server is still busy after {PREPARATION:.0f} s.")
        work = await editor.request("mercury/work", None)
        if editor.running_progress or work["busy"]:
            quiet_since = time.monotonic()
        await asyncio.sleep(POLL)


async def _model(editor: Editor) -> str:
    """Return the model's name, as the server reports it."""
    return str((await editor.request("mercury/status", None))["model"])
