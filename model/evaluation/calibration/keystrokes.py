"""Records the model's suggestions while held-out lines are typed, and replays them with any rule for showing them.

Lines are typed as in `typing`, but in this process: every other line with the lines below it, the others without. The
model is asked at each `EVERY`th key, with the package's other files as the project memory. Recorded suggestions are not
cut. In the replay, a suggestion that agrees with the typed keys stays until the model is asked again, so the figures
are those of a typist whose server is asked at these keys only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mercury_lsp.completion.pipeline import PipelineCache
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context.memory.project import ProjectMemory
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.syntax.document import Document
from model.data.corpus import Source
from model.evaluation.calibration.memory_rows import memories_of
from model.evaluation.heldout.cursors import Cursor
from model.evaluation.heldout.offers import Fit, Offer, written
from model.evaluation.heldout.records import DetailsError
from model.evaluation.typing.ideal_typist import (
    Answer,
    Key,
    Line,
    LineState,
    Suggestion,
    type_line,
    type_manually,
)

EVERY = 3
"""Keys from one request to the next."""

Rule = Callable[[Offer], Fit | None]
"""Returns the part of an offer that is shown, or None."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request after ``at`` characters of a line, before the editor's ``closers``; ``offer`` is None if not asked."""

    at: int
    closers: str
    offer: Offer | None


@dataclass(frozen=True, slots=True)
class Keystrokes:
    """A line without its indentation, with the requests made while it is typed.

    ``following``: the text after the line that the author has not written yet.
    """

    model: str
    language: str
    package: str
    path: str
    start: int
    text: str
    following: str
    requests: tuple[Request, ...]

    @property
    def file(self) -> tuple[str, str]:
        """The file of the line; lines of the same file are not independent."""
        return self.package, self.path

    def truth(self, request: Request) -> str:
        """Return the author's text after the cursor of a request."""
        return self.text[request.at :] + self.following


def record(
    engine: LocalEngine, cursors: Iterable[Cursor], sources: Iterable[Source], minutes: float = 0
) -> Iterator[Keystrokes]:
    """Type the lines at cursors of the kind ``next``, and record the requests; ``minutes`` limits the time unless 0."""
    drawn = list(dict.fromkeys(cursors))
    memory_of_package = memories_of(sources, drawn, engine.tokenizer)
    kept, began = PipelineCache(), time.monotonic()
    visits: dict[str, int] = defaultdict(int)
    for cursor in drawn:
        if minutes and time.monotonic() - began > 60 * minutes:
            return
        package = cursor.source.package
        yield _typed(engine, cursor, memory_of_package(package), kept, below=visits[package] % 2 == 0)
        visits[package] += 1


def _typed(
    engine: LocalEngine, cursor: Cursor, memory: ProjectMemory, kept: PipelineCache, below: bool
) -> Keystrokes:
    source, config = cursor.source, Config(show_likelihood=0.0)
    text, there = cursor.hole.rstrip(), cursor.document()
    requests = []
    for at in range(0, len(text), EVERY):
        state = type_manually(LineState(), text[:at])
        before = source.text[: cursor.start] + state.left
        after = state.closers + (source.text[cursor.end :] if below else "")
        document = Document(there.uri, there.path, there.language_id, 1, before + after)
        _, committed = written(Snapshot(document, config, memory=memory), len(before), engine, kept)
        requests.append(Request(at, state.closers, None if committed is None else Offer.of(committed)))
    return Keystrokes(
        model=f"{engine.name} {engine.fingerprint[:12]}",
        language=source.language,
        package=source.package,
        path=source.path,
        start=cursor.start,
        text=text,
        following="" if below else source.text[cursor.start + len(text) :][:FOLLOWING],
        requests=tuple(requests),
    )


FOLLOWING = 2000
"""The recorded characters of the text after a line; no suggestion is as long."""


def write(lines: Iterable[Keystrokes], file: Path) -> list[Keystrokes]:
    """Return the lines, after writing each line to a file immediately."""
    kept = []
    with file.open("w", encoding="utf-8", buffering=1) as out:
        for line in lines:
            kept.append(line)
            out.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
    return kept


def read(file: Path) -> list[Keystrokes]:
    """Read the lines of a file. Raises `DetailsError`."""
    try:
        with file.open(encoding="utf-8") as lines:
            return [_read(line) for line in lines]
    except OSError as error:
        raise DetailsError(f"{file} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DetailsError(
            f"{file} was not written by model.evaluation.calibration.calibrate: {error}"
        ) from error


def _read(line: str) -> Keystrokes:
    values = json.loads(line)
    requests = tuple(
        Request(one["at"], one["closers"], None if one["offer"] is None else Offer.read(one["offer"]))
        for one in values["requests"]
    )
    return Keystrokes(**{**values, "requests": requests})


class Replay:
    """A `Screen` on which a recorded line is typed again, with a rule for showing each offer.

    After accepted words, fewer closers may follow the cursor than when the line was recorded, typed key by key. The
    replay assumes that the model would write the recorded text nevertheless.
    """

    def __init__(self, line: Keystrokes, rule: Rule) -> None:
        self._requests = {request.at: request for request in line.requests}
        self._rule = rule
        self._left = self._right = ""
        self._held: Suggestion | None = None

    async def ask(self) -> Answer:
        """Return the suggestion that is shown at the cursor."""
        request = self._requests.get(len(self._left))
        if request is not None:
            fit = None if request.offer is None else self._rule(request.offer)
            self._held = None if fit is None else Suggestion(fit.shown, min(fit.replaced, len(self._right)))
        return Answer(self._held, 0.0)

    def edit(self, replaced: int, text: str, forward: int) -> None:
        """Edit as in `Screen.edit`; text that agrees with the suggestion leaves its rest."""
        entered, added = text[:forward], text[forward:]
        held, self._held = self._held, None
        if held is not None and held.text.startswith(entered) and held.text != entered:
            # The suggestion also replaces a closer that the editor added, if the suggestion contains it.
            gives_way = len(added) if added in held.text[forward:] else 0
            self._held = Suggestion(held.text[forward:], max(0, held.replaced - replaced) + gives_way)
        self._left += entered
        self._right = added + self._right[replaced:]


def replay(lines: Sequence[Keystrokes], rule: Rule) -> list[list[Key]]:
    """Return the keys with which the ideal typist types each line."""

    async def typed() -> list[list[Key]]:
        return [await type_line(Replay(line, rule), Line(line.text, line.following)) for line in lines]

    return asyncio.run(typed())
