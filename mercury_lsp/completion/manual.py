"""Finds another suggestion for a manual request if nothing of the first text fits.

It tries, each within a time limit: alternative infills, the beginning of the first infill, and a new line below or
above the cursor's line. All are judged in the same way as the first text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from mercury_lsp.context.secrets import is_secret
from mercury_lsp.engine.api import Infill
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.tree import Syntax

if TYPE_CHECKING:
    from mercury_lsp.completion.committed import Committed
    from mercury_lsp.completion.types import Completion, Snapshot
    from mercury_lsp.syntax.document import Document

# The number of infills of a place, and of beginnings of the first infill, that are tried.
MAX_TRIES = 6
# The time limit of each of the three searches, which all end before the deadline of a manual request.
WAY_SECONDS = 0.6

Late = Callable[[], bool]
"""Returns True when the search must stop: it is cancelled, or its time is up."""

_WORD = re.compile(r"\w+|[^\w\s]+")


def found(
    first: Committed,
    alternatives: Callable[[Late], Iterator[Infill]],
    middles: Callable[[Snapshot, int, Late], Iterator[Infill]],
    cancelled: Late,
    patience: float,
) -> Completion:
    """Return a completion in place of the `first` text, of which nothing fits; the judged `first` if nothing else fits.

    `alternatives` yields further infills of the same place, `middles` those of another place, each of one line after
    optional blank lines; both get the function that tells them to stop. A new line is tried first if the first text
    adds nothing: if it is blank, repeats the rest of the line, or the cursor is within a word, which any other infill
    would break. With `multiline` "never" no new line is tried. `patience`: the time limit in seconds of each search.
    Raises `Cancelled`.
    """

    def here(late: Late) -> Iterator[Completion]:
        for infill in chain([first.infill], islice(alternatives(late), MAX_TRIES)):
            yield _with(first, infill).judged()

    def shorter(late: Late) -> Iterator[Completion]:
        for part in () if is_secret(first.text) else beginnings(first.infill):
            if late():
                break
            yield replace(first, infill=part, single_line=True).judged()

    def elsewhere(late: Late) -> Iterator[Completion]:
        for place in _places(first.snapshot.document, first.offset):
            snapshot = replace(first.snapshot, document=place.document)
            moved = replace(
                first,
                snapshot=snapshot,
                offset=place.start,
                syntax=Syntax.of(place.document),
                single_line=True,
            )
            for infill in islice(middles(snapshot, place.start, late), MAX_TRIES):
                made = _with(moved, infill).judged()
                if made.shown is not None and made.end == place.start:
                    shown = place.before + made.shown + place.behind
                    yield replace(made, shown=shown, start=first.offset, end=place.end)

    ways = [elsewhere, here, shorter] if _nothing_to_add(first) else [here, shorter, elsewhere]
    if first.snapshot.config.multiline == "never":
        ways.remove(elsewhere)
    for way in ways:
        with suppress(Cancelled):
            for completion in way(_limit(cancelled, patience)):
                if completion.shown is not None:
                    return completion
        if cancelled():
            raise Cancelled
    return first.judged()


def _with(committed: Committed, infill: Infill) -> Committed:
    """Replace the infill, for a single line by its beginning up to the first line that is not blank.

    After the end of a block the cursor's line is complete, and the model's text begins with blank lines.
    """
    text = infill.text
    blank = len(text) - len(text.lstrip())
    config = committed.snapshot.config
    if not committed.single_line or "\n" not in text[:blank] or config.multiline == "never":
        return replace(committed, infill=infill)
    end = text.find("\n", blank)
    return replace(committed, infill=infill if end < 0 else infill.cut_at(end), single_line=False)


def _limit(cancelled: Late, patience: float) -> Late:
    until = time.monotonic() + patience
    return lambda: cancelled() or time.monotonic() > until


def beginnings(infill: Infill) -> Iterator[Infill]:
    """Yield at most `MAX_TRIES` beginnings of an infill's first line that end with a word, the longest first."""
    line, newline, _ = infill.text.partition("\n")
    ends = [match.end() for match in _WORD.finditer(line)]
    if not newline and ends:
        ends.pop()
    for end in islice(reversed(ends), MAX_TRIES):
        yield infill.cut_at(end)


@dataclass(frozen=True, slots=True)
class _Place:
    """A document with an additional empty line, which begins at `start`.

    A suggestion there becomes one at the cursor: it stands between `before` and `behind`, and all three replace the
    text from the cursor to `end`.
    """

    document: Document
    start: int
    before: str
    behind: str
    end: int


def _places(document: Document, offset: int) -> Iterator[_Place]:
    """Yield a new line below the cursor's line, and one above it if only indentation is before the cursor.

    If the cursor is in an empty block, there is none below, because the block would stay empty.
    """
    number, _ = document.position(offset)
    begin, end = document.span(number)
    eol, text = document.eol, document.text
    left = text[begin:offset]
    if not (left.rstrip().endswith("{") and text[offset:end].lstrip().startswith("}")):
        more = document.replace(end, end, eol, document.version)
        yield _Place(more, end + len(eol), text[offset:end] + eol, "", end)
    if not left.strip() and text[offset:end].strip():
        behind = eol + left
        yield _Place(document.replace(offset, offset, behind, document.version), offset, "", behind, offset)


def _nothing_to_add(first: Committed) -> bool:
    document, offset = first.snapshot.document, first.offset
    number, column = document.position(offset)
    line = document.line(number)
    rest = line[column:].strip()
    said = first.text.strip()
    within = re.fullmatch(r"\w\w", line[max(0, column - 1) : column + 1]) is not None
    return not said or within or (rest != "" and (said.startswith(rest) or rest.startswith(said)))
