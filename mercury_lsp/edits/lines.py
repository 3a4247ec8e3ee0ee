"""Finds further places of whole lines that were inserted at least twice before or after equal lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.search import COMPARED_EDITS, MAX_OCCURRENCES, RECENT_EDITS, Candidate, Search
from mercury_lsp.edits.tokens import Tokens, is_word
from mercury_lsp.syntax.document import Document

MAX_LINES = 6
# The number of words that the lines around a place must have in common with those around the insertions.
LEAST_WORDS = 2


@dataclass(frozen=True, slots=True)
class Inserted:
    """Lines that were inserted from line `first` on, without the indentation of the next line that is not blank.

    `above`, `below`: the nearest lines that are not blank, stripped. `gap`: the number of blank lines before `below`.
    """

    first: int
    lines: tuple[str, ...]
    above: str
    below: str
    gap: int


def find_candidates(search: Search) -> Iterator[Candidate]:
    """Yield the places of all lines that recent edits inserted twice or more."""
    document = search.syntax.document
    found = [
        one
        for edit in search.edits[: -COMPARED_EDITS - 1 : -1]
        if (one := inserted(document, edit)) is not None
    ]
    tried: set[tuple[tuple[str, ...], str, str]] = set()
    for number, recent in enumerate(found[:RECENT_EDITS]):
        for other in found[number + 1 : number + 1 + MAX_OCCURRENCES]:
            if search.timed_out:
                return
            if [line.strip() for line in recent.lines] != [line.strip() for line in other.lines]:
                continue
            above = recent.above if recent.above == other.above else ""
            below = recent.below if recent.below == other.below and recent.gap == other.gap else ""
            if _words(above) + _words(below) < LEAST_WORDS or (recent.lines, above, below) in tried:
                continue
            tried.add((recent.lines, above, below))
            support = sum(one.lines == recent.lines for one in found)
            yield from _places(search, recent, above, below, support)


def inserted(document: Document, edit: Edit) -> Inserted | None:
    """Return the lines that an edit inserted; None if it is any other edit."""
    edit = edit.trimmed()
    text = document.text
    if edit.before or "\n" not in edit.after:
        return None
    first, last = document.position(edit.start)[0], document.position(edit.end)[0]
    # If the edit ends with the text before it in its line, it may as well have inserted whole lines above.
    begun = text[document.span(first)[0] : edit.start]
    if edit.after.endswith(begun) and (begun + edit.after)[: len(edit.after)].endswith("\n"):
        last -= 1
    elif edit.after.lstrip(" \t\r").startswith("\n") and edit.end == document.span(last)[1]:
        first += 1
    else:
        return None
    lines = [document.line(number) for number in range(first, last + 1)]
    if not 1 <= len(lines) <= MAX_LINES or not any(_words(line) for line in lines):
        return None
    above, below = first - 1, last + 1
    while above >= 0 and not document.line(above).strip():
        above -= 1
    while below < document.line_count and not document.line(below).strip():
        below += 1
    beside = document.line(below) if below < document.line_count else ""
    return Inserted(
        first,
        tuple(_shifted(lines, indent(beside), "")),
        document.line(above).strip() if above >= 0 else "",
        beside.strip(),
        below - last - 1,
    )


def _places(search: Search, one: Inserted, above: str, below: str, support: int) -> Iterator[Candidate]:
    """Yield the places between the lines `above` and `below`; an empty one matches any line."""
    document, eol = search.syntax.document, search.syntax.document.eol
    first = one.lines[0].strip()
    previous = -1
    for number in range(document.line_count):
        line = document.line(number)
        if not line.strip():
            continue
        before, previous = previous, number
        if below:
            at = number - one.gap
            if line.strip() != below or (above and (before < 0 or document.line(before).strip() != above)):
                continue
            if at <= before or (before >= 0 and document.line(before).strip() == one.lines[-1].strip()):
                continue
        else:
            at = number + 1
            if line.strip() != above or at >= document.line_count:
                continue
            if document.line(at).strip() == first:
                continue
        beside = line if below else _next(document, at) or line
        start = document.span(at)[0]
        if search.syntax.text_around(start) is not None:
            continue
        text = "".join(f"{part}{eol}" for part in _shifted(one.lines, "", indent(beside)))
        yield Candidate(start, start, text, "line", support, f"+ {' '.join(map(str.strip, one.lines))}")


def _next(document: Document, number: int) -> str:
    """Return the first line from `number` on that is not blank; empty if there is none."""
    return next(
        (line for at in range(number, document.line_count) if (line := document.line(at)).strip()), ""
    )


def _shifted(lines: Sequence[str], old: str, new: str) -> Iterator[str]:
    """Yield lines with the indentation `old` replaced by `new`; a line without `old` loses its whole indentation."""
    for line in lines:
        own = indent(line)
        kept = own[len(old) :] if own.startswith(old) else ""
        yield new + kept + line.strip() if line.strip() else ""


def indent(line: str) -> str:
    """Return the indentation of a line."""
    return line[: len(line) - len(line.lstrip())]


def _words(text: str) -> int:
    return sum(map(is_word, Tokens.of(text).texts))
