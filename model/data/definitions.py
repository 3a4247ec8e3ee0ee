"""Reads the definitions of files, and finds files by what they define."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from tree_sitter import Node, Query, QueryCursor

from mercury_lsp.context.retrieval.index import Entry
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import Language
from mercury_lsp.syntax.parsing import MAX_QUERY_DEPTH
from mercury_lsp.syntax.tree import Syntax
from model.data.outlines import OUTLINES

# Definitions of a file at most.
DEFINITIONS = 500
# Lines of a definition's signature at most.
HEAD = 6
# Lines of the body that are shown: they tell the purpose of a callable, or the fields of a type.
SHOWN = {"callable": 2, "type": 8}
# Characters of a definition's text at most.
CHARACTERS = 600

_WORD = re.compile(r"[A-Za-z_]\w{2,}")
_TYPES = re.compile("class|struct|interface|enum|trait|union|type|record|module")


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of a file: its signature and the first lines of its body. ``line`` counts from 0.

    ``kind`` is "callable" or "type". ``owner`` is the name of the enclosing definition, such as a method's class, or
    empty.
    """

    name: str
    kind: str
    owner: str
    line: int
    text: str

    @property
    def last(self) -> int:
        """The last line of the text."""
        return self.line + self.text.count("\n")


@lru_cache(maxsize=65_536)
def definitions_of(entry: Entry) -> tuple[Definition, ...]:
    """Return the definitions of a file in order."""
    syntax = Syntax.of(Document("", entry.path, "", 0, entry.text))
    if syntax.tree is None or syntax.language is None or not OUTLINES[syntax.language.name].definitions:
        return ()
    text = syntax.document.text
    cursor = QueryCursor(_outline(syntax.language))
    cursor.set_max_start_depth(MAX_QUERY_DEPTH)
    matches = cursor.matches(syntax.tree.root_node)
    found = {(captured["definition"][0].id): captured for _, captured in matches}
    nodes = sorted(
        ((captured["definition"][0], captured["name"][0]) for captured in found.values()),
        key=lambda pair: pair[0].start_byte,
    )
    definitions: list[Definition] = []
    # End, kind and name of the enclosing definitions.
    around: list[tuple[int, str, str]] = []
    for node, name in nodes[: 4 * DEFINITIONS]:
        while around and around[-1][0] <= node.start_byte:
            around.pop()
        kind = "type" if _TYPES.search(node.type) else "callable"
        spelt = text[name.start_byte : name.end_byte]
        inside = around[-1] if around else None
        around.append((node.end_byte, kind, spelt))
        # Code outside a function cannot use the definitions inside it.
        if inside and inside[1] == "callable":
            continue
        owner = inside[2] if inside else _receiver(node, text)
        if len(definitions) < DEFINITIONS and 1 < len(spelt) < 100:
            definitions.append(
                Definition(spelt, kind, owner, node.start_point.row, _text_of(node, kind, syntax.document))
            )
    return tuple(definitions)


@lru_cache(maxsize=64)
def defining_files(entries: tuple[Entry, ...]) -> dict[str, tuple[str, ...]]:
    """Return, by name, the paths of the files that define the name at their top level or in a type."""
    paths: dict[str, dict[str, None]] = {}
    for entry in entries:
        for definition in definitions_of(entry):
            paths.setdefault(definition.name, {})[entry.path] = None
    return {name: tuple(own) for name, own in paths.items()}


def _receiver(node: Node, text: str) -> str:
    """Return the type of a method that is defined outside the type, as in Go and Rust; or an empty string."""
    receiver = node.child_by_field_name("receiver")
    around = node.parent.parent if node.parent else None
    if around is not None and around.type == "impl_item":
        receiver = around.child_by_field_name("type")
    names = _WORD.findall(text[receiver.start_byte : receiver.end_byte]) if receiver else []
    return names[-1] if names else ""


def _text_of(node: Node, kind: str, document: Document) -> str:
    """Return a definition's signature and the first lines of its body, verbatim."""
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
    # The file has a tree, so its language has a grammar.
    assert grammar is not None
    return Query(
        grammar, "\n".join(f"({pattern}) @definition" for pattern in OUTLINES[language.name].patterns)
    )
