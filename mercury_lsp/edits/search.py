"""Defines the input and limits of a search, its candidates, and the dismissals of the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from mercury_lsp.edits.history import Edit, by_line
from mercury_lsp.edits.patterns import Occurrence, occurrences
from mercury_lsp.syntax.names import Names
from mercury_lsp.syntax.tree import Syntax

RECENT_EDITS = 8
COMPARED_EDITS = 24
MAX_OCCURRENCES = 32
MAX_CANDIDATES = 40
SEARCH_SECONDS = 0.03
# The number of further occurrences that an edit needs, after each dismissal, to be suggested at other places.
OCCURRENCES_PER_DISMISSAL = 2

Key = tuple[str, int, str]
Kind = Literal[
    "parameter",
    "local",
    "definition",
    "import",
    "member",
    "rename",
    "replace",
    "delete",
    "insert",
    "argument",
    "line",
    "modifier",
    "series",
    "rewrite",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a place must have in common with the occurrences of an edit.

    `rename`, `member`, `replace`, `insert`: the numbers of tokens on the left and right that must match. `words`: the
    number of words that an insertion needs among them. `delete`: the number of occurrences that a deletion needs.
    `single`: the kinds of renames for which one occurrence is enough.
    """

    rename: tuple[int, int] = (1, 1)
    member: tuple[int, int] = (2, 1)
    replace: tuple[int, int] = (1, 1)
    insert: tuple[int, int] = (4, 2)
    words: int = 2
    delete: int = 3
    single: frozenset[str] = frozenset({"parameter", "local", "definition", "import"})


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible next edit, which replaces the text from `start` to `end`.

    `support`: the number of occurrences of the repeated edit. `edit`: a text that identifies that edit. `key`:
    identifies the edit of this line, even after the line has moved.
    """

    start: int
    end: int
    text: str
    kind: Kind
    support: int
    edit: str
    key: Key = ("", 0, "")


class Dismissals:
    """The places at which the user has dismissed a candidate, and the number of dismissals of each edit."""

    def __init__(self) -> None:
        self._places: set[Key] = set()
        self._edits: Counter[str] = Counter()

    def add(self, candidate: Candidate) -> None:
        """Record that the user has dismissed a candidate."""
        self._places.add(candidate.key)
        self._edits[candidate.edit] += 1

    def allows(self, candidate: Candidate) -> bool:
        """Return whether a candidate may be suggested."""
        needed = OCCURRENCES_PER_DISMISSAL * self._edits[candidate.edit]
        return candidate.key not in self._places and (not needed or candidate.support >= 1 + needed)


@dataclass(frozen=True, slots=True)
class Search:
    """The input of a search: a document, its names and edits, and the occurrences in its edits, the newest first.

    `deadline`: the time by `time.monotonic` at which the search ends.
    """

    syntax: Syntax
    names: Names
    edits: Sequence[Edit]
    occurrences_by_edit: Sequence[Sequence[Occurrence]]
    limits: Limits
    deadline: float

    @classmethod
    def of(cls, syntax: Syntax, edits: Sequence[Edit], limits: Limits, deadline: float) -> Search:
        """Find the occurrences in the edits, until the time is up."""
        joined = by_line(syntax.document.text, edits)
        occurrences_by_edit: list[Sequence[Occurrence]] = []
        for edit in joined[: -COMPARED_EDITS - 1 : -1]:
            occurrences_by_edit.append(occurrences(syntax.document.text, edit)[:MAX_OCCURRENCES])
            if monotonic() > deadline:
                break
        return cls(syntax, Names(syntax), joined, occurrences_by_edit, limits, deadline)

    @property
    def timed_out(self) -> bool:
        """Whether the time is up."""
        return monotonic() > self.deadline
