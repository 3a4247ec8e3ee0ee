r"""Edits: places where a user wrote something, with what stood around it and what it was.

Owns how a place is drawn in a piece of text that was added to a file, and the form in which edits are recorded. Knows
neither git nor models.

Of each added run of lines there is one edit, of one of these kinds: ``line``, from the start of an added line, behind
its indentation, to its end; ``within``, from behind a mark where editors ask (`TRIGGERS`) to the line's end; ``block``,
all of a short run, as when somebody writes several lines at one go. The file is as it was after the commit, but for
what is missing. Lines without code, such as comments, are no places. The draw depends on the seed and the place alone.

Recorded edits are lines of JSON: ``{"path", "language", "prefix", "suffix", "middle", "kind"}``. ``path`` is relative
to the repository; ``language`` is LSP's identifier; the three texts, put together as prefix, middle, suffix, are the
file; ``kind`` may be left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from random import Random

from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax

KINDS = ("line", "within", "block")
TRIGGERS = re.compile(r"[(\[{.,]\s?|(?<!=)=\s|\breturn\s|:\s")
LONGEST_LINE, LONGEST_BLOCK, MOST_LINES = 240, 600, 8  # characters, characters, and lines of a block
PIECE = 40  # lines of a longer run that have an edit of their own


class NotAnEdit(ValueError):
    """A record is none of an edit; the message is a clause."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A place, and what the user wrote there. See the module."""

    path: str
    language: str
    prefix: str
    suffix: str
    middle: str
    kind: str = ""

    @property
    def key(self) -> str:
        """What a record says instead of the place: a hash of it all."""
        texts = (self.path, self.language, self.prefix, self.suffix, self.middle)
        return hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()[:24]

    @property
    def whole(self) -> str:
        """The file as the user wrote it."""
        return self.prefix + self.middle + self.suffix

    @property
    def document(self) -> Document:
        """The file as an editor would have it open, with the cursor behind the prefix."""
        return Document(f"file:///{self.path}", self.path, self.language, 1, self.prefix + self.suffix)

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Edit:
        """Raises `NotAnEdit`."""
        try:
            values = json.loads(line)
        except ValueError as error:
            raise NotAnEdit(f"it is no JSON ({error})") from error
        if not isinstance(values, dict):
            raise NotAnEdit("it is no object")
        texts: dict[str, str] = {}
        for name in cls.__slots__:
            value = values.get(name, "" if name == "kind" else None)
            if not isinstance(value, str):
                raise NotAnEdit(f"{name} is {'no text' if name in values else 'missing'}")
            texts[name] = value
        edit = cls(**texts)
        if not edit.middle.strip():
            raise NotAnEdit("its middle is blank")
        return edit


def read(lines: Iterable[str]) -> Iterator[Edit]:
    """Recorded edits; blank lines are left out. Raises `NotAnEdit`, which names the line."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield Edit.from_json(line)
            except NotAnEdit as error:
                raise NotAnEdit(f"line {number}: {error}") from error


def added(before: str, after: str, moved: frozenset[str] = frozenset()) -> list[range]:
    """Runs of lines of `after`, by numbers from 0, that were not in `before`; blanks make no difference.

    `moved`: lines, stripped, that were deleted elsewhere at the same time; these were not written.
    """
    old, new = ([*map(_squeezed, re.split(r"\r\n|\r|\n", text))] for text in (before, after))
    runs = []
    for tag, _, _, start, end in SequenceMatcher(None, old, new).get_opcodes():
        if tag in ("insert", "replace"):
            first = start
            for number in range(start, end + 1):
                if number == end or (new[number] and new[number] in moved):
                    runs += [range(at, min(at + PIECE, number)) for at in range(first, number, PIECE)]
                    first = number + 1
    return [run for run in runs if any(new[number] for number in run)]


def removed(before: str, after: str) -> frozenset[str]:
    """Lines of `before` that are not in `after`, in the form in which `added` compares them."""
    old, new = ({*map(_squeezed, re.split(r"\r\n|\r|\n", text))} for text in (before, after))
    return frozenset(line for line in old - new if re.search(r"\w", line))


def draw(path: str, language: str, text: str, runs: Sequence[range], seed: str) -> list[Edit]:
    """One edit of each run of a file's lines that has a line of code."""
    document = Document(f"file:///{path}", path, language, 1, text)
    code = Syntax.of(document).lines(0, document.line_count)
    edits = []
    for run in runs:
        fit = [n for n in run if n < document.line_count and _is_place(document.line(n), code[n])]
        if fit:
            random = Random(f"{seed}/{path}/{run.start}")
            kind, start, end = _hole(document, code, fit, random)
            edits.append(Edit(path, language, text[:start], text[end:], text[start:end], kind))
    return edits


def _hole(
    document: Document, code: Sequence[str], fit: Sequence[int], random: Random
) -> tuple[str, int, int]:
    """Kind, start and end of what is to be missing."""
    kinds = list(KINDS)
    random.shuffle(kinds)
    number = random.choice(fit)
    start, end = _indented(document, number), document.span(number)[1]
    for kind in kinds:
        if kind == "line":
            break
        if kind == "within":
            at = document.span(number)[0]
            stops = [at + match.end() for match in TRIGGERS.finditer(code[number])]
            if stops := [stop for stop in stops if start < stop < end - 1]:
                return kind, random.choice(stops), end
        elif 1 < fit[-1] - fit[0] + 1 <= MOST_LINES:
            first, last = _indented(document, fit[0]), document.span(fit[-1])[1]
            if last - first <= LONGEST_BLOCK:
                return kind, first, last
    return "line", start, end


def _is_place(line: str, code: str) -> bool:
    """Whether a line has code in it, of a length that a person writes."""
    return re.search(r"\w", code) is not None and 2 < len(line.strip()) <= LONGEST_LINE


def _indented(document: Document, number: int) -> int:
    line = document.line(number)
    return document.span(number)[0] + len(line) - len(line.lstrip())


def _squeezed(line: str) -> str:
    return "".join(line.split())
