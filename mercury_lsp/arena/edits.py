r"""Samples edits, places where a user wrote something, from added lines, and records them as JSON.

Each run of added lines gives one edit of one of these kinds. ``line``: an added line without its indentation.
``within``: from a text after which editors send requests (`TRIGGERS`) to the end of the line. ``block``: a whole short
run. The file is as it was after the commit, without the missing text. Lines without code, such as comments, are not
sampled. The sample depends only on the seed and the place.

Recorded edits are lines of JSON: ``{"path", "language", "prefix", "suffix", "middle", "kind"}``. ``path`` is relative
to the repository; ``language`` is LSP's identifier; prefix, middle and suffix, concatenated in this order, are the
file; ``kind`` is optional.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from random import Random
from typing import Any

from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax

KINDS = ("line", "within", "block")
TRIGGERS = re.compile(r"[(\[{.,]\s?|(?<!=)=\s|\breturn\s|:\s")
MAX_LINE_CHARACTERS, MAX_BLOCK_CHARACTERS, MAX_BLOCK_LINES = 240, 600, 8
# Longer runs are split into runs of this many lines.
RUN_LINES = 40


class InvalidEdit(ValueError):
    """A record that is not an edit; the message is a clause."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A place in a file and the text that the user wrote there; the module describes the fields."""

    path: str
    language: str
    prefix: str
    suffix: str
    middle: str
    kind: str = ""

    @property
    def key(self) -> str:
        """A hash of the place and its text, which a ballot records instead of them."""
        texts = (self.path, self.language, self.prefix, self.suffix, self.middle)
        return hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()[:24]

    @property
    def full_text(self) -> str:
        """The file as the user wrote it."""
        return self.prefix + self.middle + self.suffix

    @property
    def document(self) -> Document:
        """The document of an editor with the cursor after the prefix."""
        return Document(f"file:///{self.path}", self.path, self.language, 1, self.prefix + self.suffix)

    def to_json(self) -> str:
        """Return the edit as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Edit:
        """Parse a line of JSON. Raises `InvalidEdit`."""
        try:
            values = json.loads(line)
        except ValueError as error:
            raise InvalidEdit(f"it is no JSON ({error})") from error
        if not isinstance(values, dict):
            raise InvalidEdit("it is no object")
        texts: dict[str, Any] = {
            name: values.get(name, "" if name == "kind" else None) for name in cls.__slots__
        }
        if invalid := [name for name, value in texts.items() if not isinstance(value, str)]:
            raise InvalidEdit(f"{invalid[0]} is {'no text' if invalid[0] in values else 'missing'}")
        edit = cls(**texts)
        if not edit.middle.strip():
            raise InvalidEdit("its middle is blank")
        return edit


def read_edits(lines: Iterable[str]) -> Iterator[Edit]:
    """Parse recorded edits, skipping blank lines. Raises `InvalidEdit` with the line's number."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield Edit.from_json(line)
            except InvalidEdit as error:
                raise InvalidEdit(f"line {number}: {error}") from error


def added_runs(before: str, after: str, moved: frozenset[str] = frozenset()) -> list[range]:
    """Return the runs of lines of `after`, numbered from 0, that are not in `before`, without regard to whitespace.

    moved: lines, without their whitespace, that the commit deleted at another place, so that they were only moved.
    """
    old, new = _stripped_lines(before), _stripped_lines(after)
    runs = []
    for tag, _, _, start, end in SequenceMatcher(None, old, new).get_opcodes():
        if tag in ("insert", "replace"):
            first = start
            for number in range(start, end + 1):
                if number == end or (new[number] and new[number] in moved):
                    runs += [range(at, min(at + RUN_LINES, number)) for at in range(first, number, RUN_LINES)]
                    first = number + 1
    return [run for run in runs if any(new[number] for number in run)]


def removed_lines(before: str, after: str) -> frozenset[str]:
    """Return the lines of `before` that are not in `after`, without their whitespace."""
    written = {*_stripped_lines(after)}
    return frozenset(line for line in {*_stripped_lines(before)} - written if re.search(r"\w", line))


def sample_edits(path: str, language: str, text: str, runs: Sequence[range], seed: str) -> list[Edit]:
    """Sample one edit from each run that has a line of code."""
    document = Document(f"file:///{path}", path, language, 1, text)
    code_lines = Syntax.of(document).lines(0, document.line_count)
    edits = []
    for run in runs:
        candidates = [
            n for n in run if n < document.line_count and _is_place(document.line(n), code_lines[n])
        ]
        if candidates:
            random = Random(f"{seed}/{path}/{run.start}")
            kind, start, end = _choose_hole(document, code_lines, candidates, random)
            edits.append(Edit(path, language, text[:start], text[end:], text[start:end], kind))
    return edits


def _choose_hole(
    document: Document, code_lines: Sequence[str], candidates: Sequence[int], random: Random
) -> tuple[str, int, int]:
    kinds = list(KINDS)
    random.shuffle(kinds)
    number = random.choice(candidates)
    start, end = _code_start(document, number), document.span(number)[1]
    for kind in kinds:
        if kind == "line":
            break
        if kind == "within":
            at = document.span(number)[0]
            offsets = [at + match.end() for match in TRIGGERS.finditer(code_lines[number])]
            if offsets := [offset for offset in offsets if start < offset < end - 1]:
                return kind, random.choice(offsets), end
        elif 1 < candidates[-1] - candidates[0] + 1 <= MAX_BLOCK_LINES:
            first, last = _code_start(document, candidates[0]), document.span(candidates[-1])[1]
            if last - first <= MAX_BLOCK_CHARACTERS:
                return kind, first, last
    return "line", start, end


def _is_place(line: str, code: str) -> bool:
    """Return whether a line has code and the length of a line that a person writes."""
    return re.search(r"\w", code) is not None and 2 < len(line.strip()) <= MAX_LINE_CHARACTERS


def _code_start(document: Document, number: int) -> int:
    line = document.line(number)
    return document.span(number)[0] + len(line) - len(line.lstrip())


def _stripped_lines(text: str) -> list[str]:
    """Return the lines of a text without their whitespace."""
    return ["".join(line.split()) for line in re.split(r"\r\n|\r|\n", text)]
