"""Parses any text, and queries its tree, in bounded CPU time.

tree-sitter searches for the cheapest repair of an error, which takes quadratic time or more for a line of brackets or
quotes, and it holds the GIL while it parses bytes. Here tree-sitter reads by a callback and asks every hundred steps
whether to continue, so that other threads can run, and a text that takes too long has no tree. The limit is on the
thread's own CPU time, so that a busy machine loses no trees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from time import thread_time

from tree_sitter import Language, Node, Parser, Query, QueryCursor, Tree

PARSE_SECONDS, PARSE_SECONDS_PER_CHARACTER = 0.06, 1.5e-6
"""The constant part of the time limit, and the part per character, of which usual code takes a fifth."""
MAX_QUERY_DEPTH = 300
"""Queries ignore deeper nodes, because the cost of a step grows with its depth."""
MAX_ERROR_RUN = 256
"""A tree is dropped if an error in it has more adjacent unnamed nodes."""
MAX_ANGLE_BRACKETS = 1_000
"""A text with more nested angle brackets in a statement is not parsed, because some grammars then never ask whether to
continue."""

_ANGLES = re.compile("[<>;{}]")


def parse(grammar: Language, source: bytes, old: Tree | None = None) -> Tree | None:
    """Parse a source with one byte per character; return None if that takes too long.

    `old`: the edited tree of an earlier source, so that only changes are parsed.
    """
    if _is_too_deep(source):
        return None
    view, parser = memoryview(source), Parser(grammar)
    until = thread_time() + PARSE_SECONDS + PARSE_SECONDS_PER_CHARACTER * len(source)

    def read(at: int, _: object) -> memoryview:
        return view[at:]

    def stop(at: int, has_error: bool) -> bool:
        return thread_time() > until

    try:
        # The method does not accept None.
        if old is None:
            tree = parser.parse(read, progress_callback=stop)
        else:
            tree = parser.parse(read, old, progress_callback=stop)
    except ValueError:
        # The parse was stopped.
        return None
    return tree if all(map(_can_be_queried, error_nodes(tree))) else None


def error_nodes(tree: Tree) -> Iterator[Node]:
    """Yield the error nodes and missing nodes, in no order."""
    nodes = [tree.root_node]
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            yield node
        nodes.extend(child for child in node.children if child.has_error)


def _can_be_queried(error: Node) -> bool:
    """Return whether a query of an error's children ends in time: from each child it searches the next named one."""
    if error.child_count <= MAX_ERROR_RUN:
        return True
    run = 0
    for child in error.children:
        run = 0 if child.is_named else run + 1
        if run > MAX_ERROR_RUN:
            return False
    return True


def capture(query: Query, tree: Tree, low: int, high: int) -> dict[str, list[Node]]:
    """Return the nodes of a query that touch a range, by capture."""
    cursor = QueryCursor(query)
    cursor.set_byte_range(low, high)
    cursor.set_max_start_depth(MAX_QUERY_DEPTH)
    return cursor.captures(tree.root_node)


def nodes_around(tree: Tree, offset: int) -> list[Node]:
    """Return the nodes around the character before an offset, the innermost first.

    The search starts at the root, because tree-sitter also finds the parent of a node by that search.
    """
    cursor, at = tree.walk(), offset - 1
    path: list[Node] = []
    while True:
        node = cursor.node
        if node is None or not node.start_byte <= at < node.end_byte:
            break
        path.append(node)
        if cursor.goto_first_child_for_byte(at) is None:
            break
    return path[::-1]


def _is_too_deep(source: bytes) -> bool:
    if source.count(b"<") <= MAX_ANGLE_BRACKETS:
        return False
    depth = 0
    for match in _ANGLES.finditer(source.decode("ascii")):
        sign = match.group()
        if sign == "<":
            depth += 1
            if depth > MAX_ANGLE_BRACKETS:
                return True
        else:
            depth = max(0, depth - 1) if sign == ">" else 0
    return False
