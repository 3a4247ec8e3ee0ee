"""Turns files into entries, values with their definitions, words and text, and finds definitions by name.

An entry keeps its text packed, because of thousands of files only a few are ever looked at; its pieces are cut when
they are needed. Secrets are removed before.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from sys import getsizeof

from tree_sitter import Node, Query

from mercury_lsp.syntax import parsing
from mercury_lsp.syntax.document import Document, plain
from mercury_lsp.syntax.languages import Language
from mercury_lsp.syntax.tree import Syntax

# Kept of a file: longer ones are seldom written by people.
MAX_FILE_CHARACTERS = 200_000
INDEXED = 2.5  # bytes of the project memory for a character: 6 to 8 for a token
DEFINITIONS = 500  # of a file
HEAD = 6  # lines of a definition's signature, at most
SHOWN = {
    "callable": 2,
    "type": 8,
}  # lines of its body that come with it: what it is for, or which parts it has
CHARACTERS = 600  # of a definition's text
CHUNK, STRIDE = 12, 6  # lines of a piece of a file, and from one to the next

_WORD = re.compile(r"[A-Za-z_]\w{2,}")
_TYPES = re.compile("class|struct|interface|enum|trait|union|type|record|module")
# Words of many languages that tell nothing of what a piece of code is about.
COMMON = frozenset(
    _WORD.findall(
        "and async await bool boolean break byte case catch char class const continue data def default del "
        "delete double elif else end enum err error except export extends extern false final finally float "
        "fmt for from func function get global goto has i32 i64 impl implements import include inline "
        "instanceof int interface isinstance lambda len let list long loop map match mod mut namespace new "
        "nil none None not null number object override package pass print private protected pub public raise "
        "ref require return Self self set short signed size_t static str string String struct super switch "
        "template test the then this throw throws trait true True False try type typedef typeof u32 u64 "
        "undefined union unsafe unsigned use using usize value var virtual void when where while with yield "
    )
)


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of a file: its signature and what follows at once. ``line`` counts from 0.

    ``owner`` is the name of the definition that it stands in, such as a method's class, or empty.
    """

    name: str
    kind: str  # callable or type
    owner: str
    line: int
    text: str

    @property
    def last(self) -> int:
        """Its text's last line."""
        return self.line + self.text.count("\n")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some lines of a file, from line ``line`` on, and the words in them."""

    line: int
    text: str
    words: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What is known of one file. ``size`` is about the bytes that it and its part of the memory hold."""

    path: str  # from its workspace folder, POSIX
    language: str  # `Language.name`, or empty
    definitions: tuple[Definition, ...]
    packed: bytes  # its text, compressed
    size: int

    @property
    def text(self) -> str:
        r"""The file's text, with \n as the only line ending."""
        return zlib.decompress(self.packed).decode("utf-8")

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The file in overlapping pieces, from its top to its end."""
        return _chunks(self)


def read(path: str, text: str, language_id: str = "") -> Entry:
    """Parse a file. Never raises on odd text; the costs are those of a parse, some milliseconds for 1,000 lines."""
    text = plain(text[:MAX_FILE_CHARACTERS])
    syntax = Syntax.of(Document("", path, language_id, 0, text))
    definitions = _definitions(syntax)
    packed = zlib.compress(text.encode("utf-8"), 1)
    held = sum(getsizeof(found.text) + getsizeof(found) for found in definitions)
    # The names, what an index has of them, and what the project memory has of the text.
    size = getsizeof(packed) + held + len(definitions) * 200 + 500 + int(INDEXED * len(text))
    name = syntax.language.name if syntax.language else ""
    return Entry(path, name, definitions, packed, size)


def words(text: str) -> frozenset[str]:
    """The words of a text that tell what it is about: names, and what comments say."""
    return frozenset(_WORD.findall(text)) - COMMON


@dataclass(frozen=True, eq=False)
class Library:
    """What may be shown beside a document. A value: `changed` makes another one."""

    entries: Mapping[str, Entry]  # by path
    opened: tuple[str, ...] = ()  # paths of open documents, the last used first
    edits: tuple[tuple[str, str], ...] = ()  # path, and the lines around a recent edit; the newest first

    def changed(
        self,
        entries: Mapping[str, Entry] | None = None,
        opened: tuple[str, ...] | None = None,
        edits: tuple[tuple[str, str], ...] | None = None,
    ) -> Library:
        """A library with other parts. With the same entries, what is indexed of them is taken over."""
        new = Library(
            self.entries if entries is None else entries,
            self.opened if opened is None else opened,
            self.edits if edits is None else edits,
        )
        if new.entries is self.entries and "_paths" in self.__dict__:
            new.__dict__["_paths"] = self._paths
        return new

    def defined(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The paths of the files that define each of these names at their top level or in a type."""
        paths = self._paths
        return {name: paths[name] for name in names if name in paths}

    @cached_property
    def _paths(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, dict[str, None]] = {}
        for path, entry in self.entries.items():
            for definition in entry.definitions:
                found.setdefault(definition.name, {})[path] = None
        return {name: tuple(paths) for name, paths in found.items()}


EMPTY = Library({})


@lru_cache(maxsize=64)
def _chunks(entry: Entry) -> tuple[Chunk, ...]:
    lines = entry.text.split("\n")
    pieces = []
    for first in range(0, max(1, len(lines) - STRIDE), STRIDE):
        piece = "\n".join(lines[first : first + CHUNK])
        start = first + len(piece) - len(piece.lstrip("\n"))
        if piece.strip():
            pieces.append(Chunk(start, piece.strip("\n"), words(piece)))
    return tuple(pieces)


def _definitions(syntax: Syntax) -> tuple[Definition, ...]:
    """The definitions of a file, from its top to its end."""
    if syntax.tree is None or syntax.language is None or not syntax.language.outline:
        return ()
    text = syntax.document.text
    matches = parsing.matched(_outline(syntax.language), syntax.tree)
    found = {(captured["definition"][0].id): captured for captured in matches}
    nodes = sorted(
        ((captured["definition"][0], captured["name"][0]) for captured in found.values()),
        key=lambda pair: pair[0].start_byte,
    )
    definitions: list[Definition] = []
    around: list[tuple[int, str, str]] = []  # end, kind and name of what is open
    for node, name in nodes[: 4 * DEFINITIONS]:
        while around and around[-1][0] <= node.start_byte:
            around.pop()
        kind = "type" if _TYPES.search(node.type) else "callable"
        spelt = text[name.start_byte : name.end_byte]
        inside = around[-1] if around else None
        around.append((node.end_byte, kind, spelt))
        if inside and inside[1] == "callable":
            continue  # nobody outside can use it
        owner = inside[2] if inside else _receiver(node, text)
        if len(definitions) < DEFINITIONS and 1 < len(spelt) < 100:
            definitions.append(
                Definition(spelt, kind, owner, node.start_point.row, _shown(node, kind, syntax.document))
            )
    return tuple(definitions)


def _receiver(node: Node, text: str) -> str:
    """The type that a method belongs to which is written outside of that type, as in Go and Rust; or empty."""
    receiver = node.child_by_field_name("receiver")
    around = node.parent.parent if node.parent else None
    if around is not None and around.type == "impl_item":
        receiver = around.child_by_field_name("type")
    names = _WORD.findall(text[receiver.start_byte : receiver.end_byte]) if receiver else []
    return names[-1] if names else ""


def _shown(node: Node, kind: str, document: Document) -> str:
    """A definition's signature and the first lines of its body, as they stand there."""
    first, last = node.start_point.row, node.end_point.row
    body = node.child_by_field_name("body")
    head = min(body.start_point.row if body is not None else first, first + HEAD)
    lines = [document.line(i) for i in range(first, min(last, head + SHOWN[kind]) + 1)]
    shown = lines[:1]
    length = len(lines[0])
    for line in lines[1:]:
        length += len(line) + 1
        if length > CHARACTERS:
            break
        shown.append(line)
    return "\n".join(shown)[:CHARACTERS].rstrip()


@cache
def _outline(language: Language) -> Query:
    grammar = language.grammar()
    assert grammar is not None  # there is a tree
    return Query(grammar, "\n".join(f"({pattern}) @definition" for pattern in language.outline))
