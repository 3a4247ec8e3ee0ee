"""Draws holes in held-out files.

A place is a line of code (not a comment, not a bracket alone); at each place there is one hole of each kind, if
possible. Packages take turns, and so do the files of a package, so neither a large package nor a long file weighs more.
The draw depends only on the seed, and a longer draw begins with the shorter one.

The kinds: ``rest``, from within a line's code to the end of the line; ``next``, the whole line, with the cursor after
the indentation, as on a new line in an editor; ``line``, the same from before the indentation, if there is any;
``lines``, two to six lines; ``node``, an argument list, condition or body that ends on the line, or else any of the
file; ``span``, a random piece of one or several lines.

The kinds in `TRIGGERS` measure the trigger rules: ``string`` and ``comment``, from within one to its end or to the end
of its first line; ``word``, one or two letters of a longer word in the line, with the rest of the word after the
cursor. `BEGUN` is for the typing benchmark: from within an identifier of the line's code, which has at least four
letters and is no keyword, to the end of the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from random import Random

from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import for_document
from mercury_lsp.syntax.tree import Syntax
from model.data.corpus import Source
from model.data.nodes import nodes
from model.data.spans import MIDDLE_CHARACTERS

KINDS = ("rest", "next", "line", "lines", "node", "span")
TRIGGERS = ("string", "comment", "word")
BEGUN = "begun"
LANGUAGES = ("python", "javascript", "typescript", "go", "java", "c")
KEYWORDS = frozenset([
    "abstract", "async", "await", "bool", "boolean", "break", "byte", "case", "catch", "chan", "char",
    "class", "const", "continue", "debugger", "def", "default", "defer", "delete", "double", "elif",
    "else", "enum", "except", "export", "extends", "extern", "fallthrough", "false", "final", "finally",
    "float", "from", "func", "function", "goto", "global", "implements", "import", "instanceof",
    "interface", "internal", "lambda", "long", "namespace", "native", "None", "nonlocal", "null",
    "nullptr", "package", "pass", "private", "protected", "public", "raise", "range", "readonly",
    "return", "select", "short", "signed", "sizeof", "static", "struct", "super", "switch",
    "synchronized", "this", "throw", "throws", "transient", "true", "True", "False", "type", "typedef",
    "typeof", "undefined", "union", "unsigned", "using", "void", "volatile", "while", "with", "yield",
])  # fmt: skip
"""Words that are not identifiers in at least one of the `LANGUAGES`."""
_IDENTIFIER = re.compile(r"[^\W\d]\w{3,}")
# Attempts to draw a span that is neither empty nor too long.
TRIALS = 20


@dataclass(frozen=True, slots=True)
class Cursor:
    """A hole from ``start``, where the cursor is, to ``end``, in the whole text of a file."""

    kind: str
    source: Source
    start: int
    end: int

    @property
    def hole(self) -> str:
        """The missing text."""
        return self.source.text[self.start : self.end]

    @property
    def fresh(self) -> bool:
        """Whether only whitespace precedes the cursor in its line."""
        return not self.source.text[: self.start].rpartition("\n")[2].strip()

    def document(self) -> Document:
        """Return the document that an editor would have open: the file without the hole."""
        text = self.source.text
        return _document(self.source, text[: self.start] + text[self.end :])


def draw(
    sources: Iterable[Source],
    languages: Sequence[str],
    per_language: int,
    seed: int,
    kinds: Sequence[str] = KINDS,
) -> list[list[Cursor]]:
    """Draw ``per_language`` places of each language, languages in turn; return the cursors of each place.

    The cursors of a place are ordered so that each finds most of its prompt in the engine's cache.
    """
    files: dict[str, list[Source]] = {language: [] for language in languages}
    for source in sources:
        if source.language in files:
            files[source.language].append(source)
    each = [islice(_places(own, seed, kinds), per_language) for own in files.values()]
    return [place for turn in zip_longest(*each) for place in turn if place]


def _places(sources: Sequence[Source], seed: int, kinds: Sequence[str]) -> Iterator[list[Cursor]]:
    """Yield places without end, unless no file has any."""
    packages: dict[str, list[Source]] = {}
    for source in sorted(sources, key=lambda source: (source.package, source.path)):
        packages.setdefault(source.package, []).append(source)
    random = Random(f"{seed}/packages")
    turns = list(packages.values())
    random.shuffle(turns)
    for own in turns:
        random.shuffle(own)
    longest = max(map(len, turns), default=0)
    number = missed = 0
    # `missed` counts consecutive rounds in which no package had a place.
    while missed < longest:
        missed += 1
        for own in turns:
            visit, index = divmod(number, len(own))
            source = own[index]
            place = _place(source, Random(f"{seed}/{source.package}/{source.path}/{visit}"), kinds)
            if place:
                missed = 0
                yield place
        number += 1


def _place(source: Source, random: Random, kinds: Sequence[str]) -> list[Cursor]:
    """Draw one hole of each kind at one line of a file; return an empty list for a file without a line of code."""
    file = _File(source)
    if not file.code:
        return []
    line, key = random.choice(file.code), random.random()
    cursors = []
    for kind in kinds:
        found = file.hole(kind, line, Random(f"{key}/{kind}"))
        if found is not None and source.text[slice(*found)].strip():
            cursors.append(Cursor(kind, source, *found))
    return sorted(cursors, key=lambda cursor: -cursor.start)


class _File:
    """A file with its syntax and its lines of code."""

    def __init__(self, source: Source) -> None:
        self.document = _document(source, source.text)
        self.syntax = Syntax.of(self.document)
        self.bare = self.syntax.lines(0, self.document.line_count)
        self.code = [
            i
            for i, line in enumerate(self.bare)
            if re.search(r"\w", line) and 2 < len(self.document.line(i).strip()) <= MIDDLE_CHARACTERS
        ]

    def hole(self, kind: str, line: int, random: Random) -> tuple[int, int] | None:
        """Draw the character range of a hole of a kind, usually one that ends with ``line``; None if there is none."""
        start, end = self.document.span(line)
        indented = self._indented(line)
        if kind == "rest":
            last = start + len(self.document.line(line).rstrip())
            return random.randint(indented + 1, last - 2), end
        if kind == "next":
            return indented, end
        if kind == "line":
            return (start, end) if indented > start else None
        if kind == "lines":
            above = [
                i for i in self.code if line - 5 <= i < line and end - self._indented(i) <= MIDDLE_CHARACTERS
            ]
            return (self._indented(random.choice(above)), end) if above else None
        if kind == "node":
            pieces = [(a, b) for a, b, _ in nodes(self.syntax) if 2 < b - a <= MIDDLE_CHARACTERS]
            near = [(a, b) for a, b in pieces if start <= b <= end] or pieces
            return random.choice(near) if near else None
        if kind == BEGUN:
            names = [m for m in _IDENTIFIER.finditer(self.bare[line]) if m.group() not in KEYWORDS]
            if not names:
                return None
            a, b = random.choice(names).span()
            return start + random.randint(a + 1, b - 1), end
        if kind in ("string", "comment"):
            return self._text(kind, random)
        if kind == "word":
            words = [match.span() for match in re.finditer(r"[^\W\d]\w{5,}", self.document.line(line))]
            if not words:
                return None
            a, b = random.choice(words)
            a = start + random.randint(a + 1, b - 3)
            return a, a + random.randint(1, 2)
        for _ in range(TRIALS):
            first = self.document.span(random.choice((line, max(0, line - random.randint(1, 5)))))[0]
            a = random.randint(first, end)
            b = random.randint(max(a, start), end)
            if b - a <= MIDDLE_CHARACTERS and self.document.text[a:b].strip():
                return a, b
        return None

    def _text(self, kind: str, random: Random) -> tuple[int, int] | None:
        """Draw a hole from within a string or a comment to its closing quote, or to the end of its first line."""
        holes = []
        for a, b, _ in nodes(self.syntax, (kind,)):
            end = min(self.document.span(self.document.position(a)[0])[1], b - (kind == "string"))
            if end - a > 6:
                holes.append((a, end))
        if not holes:
            return None
        a, end = random.choice(holes)
        return random.randint(a + 2, end - 2), end

    def _indented(self, line: int) -> int:
        text = self.document.line(line)
        return self.document.span(line)[0] + len(text) - len(text.lstrip())


def _document(source: Source, text: str) -> Document:
    language = for_document("", source.path)
    identifier = language.ids[0] if language else "plaintext"
    return Document(f"file:///{source.path}", source.path, identifier, 1, text)
