"""Draws cursors in held-out files, where something that stood there is missing.

Owns the kinds of what is missing and the draw. A place is a line of code (not a comment, not a bracket alone); at each
place there is one hole of each kind, if the place has one. Packages take turns, and so do the files of a package, so
that neither a large package nor a long file weighs more. The draw depends on the seed alone, and a longer draw begins
with the shorter one. Knows nothing of models, nor of the kinds that training draws.

The kinds: ``rest``, from within a line's code to the line's end; ``next``, the whole line, with the cursor behind the
indentation as editors put it on a fresh line; ``line``, the same from before the indentation, where there is one;
``lines``, two to six lines; ``node``, an argument list, condition or body by its syntax, that ends on the line, or
else any of the file; ``span``, a random piece of one or several lines. And, if they are asked for, the kinds by which
the rules are measured of where nothing is suggested unasked: ``string`` and ``comment``, from within one to its end or
that of its first line; ``word``, one or two letters of a longer word of the line, the rest of which stands behind the
cursor. And `BEGUN`, for the typing benchmark: from within an identifier of the line's code, at least four letters long
and no keyword, to the line's end.
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
"""Words that are no identifiers in one of the `LANGUAGES`."""
_IDENTIFIER = re.compile(r"[^\W\d]\w{3,}")
TRIALS = 20  # draws of a span that is neither empty nor too long


@dataclass(frozen=True, slots=True)
class Cursor:
    """A hole from ``start``, where the cursor is, to ``end``, in the whole text of a file."""

    kind: str
    source: Source
    start: int
    end: int

    @property
    def hole(self) -> str:
        """What is missing."""
        return self.source.text[self.start : self.end]

    @property
    def fresh(self) -> bool:
        """Whether there are only blanks before the cursor in its line."""
        return not self.source.text[: self.start].rpartition("\n")[2].strip()

    def document(self) -> Document:
        """The file as an editor would have it open: without the hole."""
        text = self.source.text
        return _document(self.source, text[: self.start] + text[self.end :])


def draw(
    sources: Iterable[Source],
    languages: Sequence[str],
    per_language: int,
    seed: int,
    kinds: Sequence[str] = KINDS,
) -> list[list[Cursor]]:
    """The cursors of ``per_language`` places of each language, the languages in turn; those of one place together.

    A place's cursors are in the order in which each next one finds most of its prompt in the engine's cache.
    """
    files: dict[str, list[Source]] = {language: [] for language in languages}
    for source in sources:
        if source.language in files:
            files[source.language].append(source)
    each = [islice(_places(own, seed, kinds), per_language) for own in files.values()]
    return [place for turn in zip_longest(*each) for place in turn if place]


def _places(sources: Sequence[Source], seed: int, kinds: Sequence[str]) -> Iterator[list[Cursor]]:
    """Places without end, unless no file has any."""
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
    while missed < longest:  # rounds in which no package had a place
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
    """One hole of each kind around one line of a file; empty for a file without a line of code."""
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
    """The lines of a file and what is in them."""

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
        """Character range of a hole of a kind, most of which end with ``line``; None where there is none."""
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
        """From within a string or a comment of the file to its closing quote, or to the end of its first line."""
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
