"""Finds the places of a line that continues a series of fields.

Two lines that are equal except for a name, and a third line with a third name that was inserted below them, are a
series: ``self.x = x``, ``self.y = y``, and now ``self.z = z``. At other places where the first two names follow each
other in the same way, the third one is probably missing: in a serializer, a table, an interface. One occurrence is
enough if it assigns a value to a member; series of other lines are too often continued at one place only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from mercury_lsp.edits.lines import indent, inserted
from mercury_lsp.edits.search import RECENT_EDITS, Candidate, Search
from mercury_lsp.edits.tokens import Tokens, is_identifier
from mercury_lsp.syntax.document import Document

Names = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Series:
    """A series of three lines.

    `second`: the names of the second line by those of the first. `third`: the names of the third line by those of the
    second. `line`: the number of the third line.
    """

    second: Names
    third: Names
    line: int


def find_candidates(search: Search) -> Iterator[Candidate]:
    """Yield the places of all series that recent edits have continued."""
    document = search.syntax.document
    for edit in search.edits[: -RECENT_EDITS - 1 : -1]:
        one = inserted(document, edit)
        if one is None or len(one.lines) != 1 or one.first < 2 or search.timed_out:
            continue
        lines = [document.line(number) for number in range(one.first - 2, one.first + 1)]
        second, third = (_renamed(*pair) for pair in pairwise(lines))
        if second and set(second.values()) == set(third) and _is_field(search, one.first, third):
            yield from _places(search, document, _Series(second, third, one.first))


def _is_field(search: Search, line: int, third: Names) -> bool:
    """Return whether a line assigns a value to a member with one of the names."""
    low, high = search.syntax.document.span(line)
    found = (
        name for new in set(third.values()) for name in search.names.all(new) if low <= name.start < high
    )
    return any(name.role == "member" and search.names.is_assigned(name) for name in found)


def _renamed(one: str, other: str) -> dict[str, str]:
    """Return the identifiers of one line and their counterparts in another, if these are the only differences."""
    if indent(one) != indent(other):
        return {}
    old, new = Tokens.of(one).texts, Tokens.of(other).texts
    if len(old) != len(new):
        return {}
    names: dict[str, str] = {}
    for a, b in zip(old, new, strict=True):
        if a == b:
            continue
        if not is_identifier(a) or not is_identifier(b) or names.setdefault(a, b) != b:
            return {}
    # A name that differs at one place must differ at all, and neither line may have the other's names.
    return {} if set(names) & set(new) or set(names.values()) & set(old) else names


def _places(search: Search, document: Document, series: _Series) -> Iterator[Candidate]:
    """Yield the places below each pair of lines whose names follow each other as in the series."""
    fresh = set(series.third.values())
    for number in range(1, document.line_count - 1):
        if search.timed_out:
            return
        line = document.line(number)
        if abs(number - series.line) <= 2 or not any(name in line for name in series.third):
            continue
        names = _renamed(document.line(number - 1), line)
        if not names or any(series.second.get(a) != b for a, b in names.items()):
            continue
        if fresh & set(Tokens.of(document.line(number + 1)).texts):
            continue
        start, _ = document.span(number + 1)
        if search.syntax.text_around(document.span(number)[0]) is not None:
            continue
        text = _with_names(line, series.third) + document.eol
        yield Candidate(start, start, text, "series", 1, f"+ {' '.join(sorted(fresh))}")


def _with_names(line: str, names: Names) -> str:
    """Return a line with its names replaced."""
    tokens = Tokens.of(line)
    pieces, at = [], 0
    for text, start, end in zip(tokens.texts, tokens.starts, tokens.ends, strict=True):
        pieces += [line[at:start], names.get(text, text)]
        at = end
    return "".join([*pieces, line[at:]])
