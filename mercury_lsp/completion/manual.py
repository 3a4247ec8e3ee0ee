"""Finds another suggestion for a manual request if nothing of the first text is shown.

It tries, each within a time: other middles, the beginning of the first one, and a line of its own below the cursor's or
above it. They are judged as the first one was.
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

# Middles of a place, and beginnings of the first, that are looked at.
MAX_TRIES = 6
# For each way: all three end before `scheduler.MANUAL_DEADLINES` deadlines.
WAY_SECONDS = 0.6

Late = Callable[[], bool]
"""Tells that it is too late to go on."""

_WORD = re.compile(r"\w+|[^\w\s]+")


def found(
    first: Committed,
    alternatives: Callable[[Late], Iterator[Infill]],
    middles: Callable[[Snapshot, int, Late], Iterator[Infill]],
    cancelled: Late,
    patience: float,
) -> Completion:
    """What to show in place of the `first` text, of which nothing is shown; as it was judged if nothing else fits.

    `alternatives` are its place's other middles, `middles` those of another place, each of one line, though blank ones
    may stand before it; both are told when it is too late. Another place, a line of its own, is tried first where the
    first text has nothing to add: where it is blank, or says what stands there, or the cursor is within a word, which
    any other middle would break; with `multiline` "never" it is not tried. `patience`: seconds for each of these ways.
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
    """With a middle up to the first line that says something, where there may be one line only.

    After the end of a block the cursor's own line is complete, and what a model writes begins with blank lines.
    """
    text = infill.text
    blank = len(text) - len(text.lstrip())
    config = committed.snapshot.config
    if not committed.single_line or "\n" not in text[:blank] or config.multiline == "never":
        return replace(committed, infill=infill)
    end = text.find("\n", blank)
    return replace(committed, infill=infill if end < 0 else infill.until(end), single_line=False)


def _limit(cancelled: Late, patience: float) -> Late:
    until = time.monotonic() + patience
    return lambda: cancelled() or time.monotonic() > until


def beginnings(infill: Infill) -> Iterator[Infill]:
    """The first line of a middle, and then its first words, most of them first; at most `MAX_TRIES`."""
    line, newline, _ = infill.text.partition("\n")
    ends = [match.end() for match in _WORD.finditer(line)]
    if not newline and ends:
        ends.pop()
    for end in islice(reversed(ends), MAX_TRIES):
        yield infill.until(end)


@dataclass(frozen=True, slots=True)
class _Place:
    """An empty line that a document has more, from `start`; as a suggestion `before` and `behind` stand around it, and
    all that replaces what is up to `end`."""

    document: Document
    start: int
    before: str
    behind: str
    end: int


def _places(document: Document, offset: int) -> Iterator[_Place]:
    """A line below the cursor's, and one above where nothing but indentation is before the cursor.

    There is none below an empty block that the cursor is in: with that line the block would stay empty.
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
