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
    from mercury_lsp.completion.committed import CommittedText
    from mercury_lsp.completion.types import Completion, Snapshot
    from mercury_lsp.syntax.document import Document

# The number of infills of a place, and of beginnings of the first infill, that are tried.
MAX_TRIES = 6
# The time limit of each of the three searches, which all end before the deadline of a manual request.
SEARCH_SECONDS = 0.6

ShouldStop = Callable[[], bool]
"""Returns True when the search must stop: it is cancelled, or its time is up."""

_WORD = re.compile(r"\w+|[^\w\s]+")
# The cursor is between the braces of an empty block, or between the tags of an empty element.
_EMPTY_BLOCK = re.compile(r"\{\s*\0\s*\}|<([\w.:-]+)(\s[^<>]*)?>\s*\0\s*</\1\s*>")


def find_alternative(
    first: CommittedText,
    alternatives: Callable[[ShouldStop], Iterator[Infill]],
    infills_elsewhere: Callable[[Snapshot, int, ShouldStop], Iterator[Infill]],
    cancelled: ShouldStop,
    search_seconds: float,
) -> Completion:
    """Return a completion in place of the `first` text, of which nothing fits; the judged `first` if nothing else fits.

    `alternatives` yields further infills of the same place, `infills_elsewhere` those of another place, each of one
    line after optional blank lines; both get the function that tells them to stop. A new line is tried first if the
    first text adds nothing: if it is blank, repeats the rest of the line, or the cursor is within a word, which any
    other infill would break. With `multiline` "never" no new line is tried. `search_seconds`: the time limit of each
    search. Raises `Cancelled`.
    """

    def search_alternatives(should_stop: ShouldStop) -> Iterator[Completion]:
        for infill in chain([first.infill], islice(alternatives(should_stop), MAX_TRIES)):
            yield _with_infill(first, infill).judge()

    def search_beginnings(should_stop: ShouldStop) -> Iterator[Completion]:
        for beginning in () if is_secret(first.text) else beginnings(first.infill):
            if should_stop():
                break
            yield replace(first, infill=beginning, single_line=True).judge()

    def search_new_lines(should_stop: ShouldStop) -> Iterator[Completion]:
        for new_line in _new_lines(first.snapshot.document, first.offset):
            snapshot = replace(first.snapshot, document=new_line.document)
            moved = replace(
                first,
                snapshot=snapshot,
                offset=new_line.start,
                syntax=Syntax.of(new_line.document),
                single_line=True,
            )
            for infill in islice(infills_elsewhere(snapshot, new_line.start, should_stop), MAX_TRIES):
                completion = _with_infill(moved, infill).judge()
                if completion.shown is not None and completion.end == new_line.start:
                    shown = new_line.before + completion.shown + new_line.after
                    yield replace(completion, shown=shown, start=first.offset, end=new_line.end)

    if _adds_nothing(first):
        searches = [search_new_lines, search_alternatives, search_beginnings]
    else:
        searches = [search_alternatives, search_beginnings, search_new_lines]
    if first.snapshot.config.multiline == "never":
        searches.remove(search_new_lines)
    for search in searches:
        with suppress(Cancelled):
            for completion in search(_with_time_limit(cancelled, search_seconds)):
                if completion.shown is not None:
                    return completion
        if cancelled():
            raise Cancelled
    return first.judge()


def _with_infill(committed: CommittedText, infill: Infill) -> CommittedText:
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


def _with_time_limit(cancelled: ShouldStop, seconds: float) -> ShouldStop:
    deadline = time.monotonic() + seconds
    return lambda: cancelled() or time.monotonic() > deadline


def beginnings(infill: Infill) -> Iterator[Infill]:
    """Yield at most `MAX_TRIES` beginnings of an infill's first line that end with a word, the longest first."""
    line, newline, _ = infill.text.partition("\n")
    ends = [match.end() for match in _WORD.finditer(line)]
    if not newline and ends:
        ends.pop()
    for end in islice(reversed(ends), MAX_TRIES):
        yield infill.cut_at(end)


@dataclass(frozen=True, slots=True)
class _NewLine:
    """A document with an additional empty line, which begins at `start`.

    A suggestion there becomes one at the cursor: it stands between `before` and `after`, and all three replace the
    text from the cursor to `end`.
    """

    document: Document
    start: int
    before: str
    after: str
    end: int


def _new_lines(document: Document, offset: int) -> Iterator[_NewLine]:
    """Yield a new line below the cursor's line, and one above it if only indentation is before the cursor.

    If the cursor is in an empty block or element, there is none below, because the block would stay empty.
    """
    number, _ = document.position(offset)
    begin, end = document.span(number)
    eol, text = document.eol, document.text
    left = text[begin:offset]
    if not _EMPTY_BLOCK.search(f"{left}\0{text[offset:end]}"):
        extended = document.replace(end, end, eol, document.version)
        yield _NewLine(extended, end + len(eol), text[offset:end] + eol, "", end)
    if not left.strip() and text[offset:end].strip():
        after = eol + left
        extended = document.replace(offset, offset, after, document.version)
        yield _NewLine(extended, offset, "", after, offset)


def _adds_nothing(first: CommittedText) -> bool:
    document, offset = first.snapshot.document, first.offset
    number, column = document.position(offset)
    line = document.line(number)
    rest = line[column:].strip()
    added = first.text.strip()
    within_word = re.fullmatch(r"\w\w", line[max(0, column - 1) : column + 1]) is not None
    return not added or within_word or (rest != "" and (added.startswith(rest) or rest.startswith(added)))
