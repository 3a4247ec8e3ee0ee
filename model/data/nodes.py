"""Finds the syntax nodes of a file that become holes: arguments, conditions, bodies, strings and comments."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from tree_sitter import Node, Query

from mercury_lsp.syntax import parsing
from mercury_lsp.syntax.languages import Language
from mercury_lsp.syntax.tree import Syntax
from model.data.outlines import OUTLINES

HOLES = ("arguments", "condition", "body")
_BRACKETS = frozenset(["(", ")", "[", "]", "{", "}", "do", "done", "end", "then", ":"])


def nodes(syntax: Syntax, kinds: Iterable[str] = HOLES) -> list[tuple[int, int, str]]:
    """Return start, end and kind of a document's nodes, sorted; an empty list if the document has no tree.

    kinds: some of `HOLES`, "string" and "comment". Ranges exclude outer brackets and whitespace. Empty nodes and nodes
    with syntax errors are left out.
    """
    if syntax.tree is None or syntax.language is None:
        return []
    text = syntax.document.text
    pieces = []
    captured = parsing.capture(_query(syntax.language), syntax.tree, 0, len(text))
    for kind in kinds:
        for node in captured.get(kind, []):
            start, end = _inside(node)
            inside = text[start:end]
            start, end = end - len(inside.lstrip()), start + len(inside.rstrip())
            if start < end and not node.has_error:
                pieces.append((start, end, kind))
    return sorted(pieces)


@cache
def _query(language: Language) -> Query:
    kinds = {
        "comment": language.comments,
        "string": language.strings,
        "arguments": OUTLINES[language.name].arguments,
        "body": language.bodies,
    }
    patterns = [f"({node}) @{capture}" for capture, names in kinds.items() for node in names]
    grammar = language.grammar()
    # The document has a tree, so its language has a grammar.
    assert grammar is not None
    if grammar.field_id_for_name("condition") is not None:
        patterns.append("(_ condition: (_) @condition)")
    return Query(grammar, "\n".join(patterns))


def _inside(node: Node) -> tuple[int, int]:
    """Return the range of a node without its outer brackets."""
    start, end = node.start_byte, node.end_byte
    if node.child_count > 1:
        first, last = node.children[0], node.children[-1]
        if first.type in _BRACKETS:
            start = first.end_byte
        if last.type in _BRACKETS:
            end = max(start, last.start_byte)
    return start, end
