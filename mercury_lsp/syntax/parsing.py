"""Parse a text, and ask its tree, within a bound of processor time, whatever the text is.

tree-sitter looks for the cheapest way out of an error, which takes time that grows with the square of a line of
brackets or quotes, and worse; and it holds the interpreter while it parses bytes. Here it reads by a callback, and is
asked every hundred steps whether to go on: other threads run meanwhile, and what takes too long has no tree. The bound
counts the thread's own processor time, so that a busy machine loses no trees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from time import thread_time

from tree_sitter import Language, Node, Parser, Query, QueryCursor, Tree

SECONDS, SECONDS_A_CHARACTER = 0.06, 1.5e-6
"""A parse may take so long. Code as people write it takes a fifth of the second, and nothing of the first."""
DEPTH = 300
"""Of nodes in one another, below which no query looks: each step costs as much as the step is deep."""
LONGEST_RUN = 256
"""Signs without a name next to one another in an error, above which there is no tree."""
DEEPEST = 1_000
"""Angle brackets in one statement, above which nothing is parsed: some grammars then compare trees without asking."""

_ANGLES = re.compile("[<>;{}]")


def parse(grammar: Language, source: bytes, old: Tree | None = None) -> Tree | None:
    """The tree of a source of one byte a character; None where it would take too long.

    old: the tree of an earlier source, edited, of which only what changed is parsed.
    """
    if _is_too_deep(source):
        return None
    view, parser = memoryview(source), Parser(grammar)
    late = _stopwatch(len(source))

    def read(at: int, _: object) -> memoryview:
        return view[at:]

    def stop(at: int, has_error: bool) -> bool:
        return late()

    try:
        if old is None:  # which it does not take for nothing
            tree = parser.parse(read, progress_callback=stop)
        else:
            tree = parser.parse(read, old, progress_callback=stop)
    except ValueError:  # so it says that it was stopped
        return None
    return tree if all(map(_can_be_queried, broken(tree))) else None


def broken(tree: Tree) -> Iterator[Node]:
    """The nodes that are errors or missing, in no order."""
    nodes = [tree.root_node]
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            yield node
        nodes.extend(child for child in node.children if child.has_error)


def _can_be_queried(error: Node) -> bool:
    """Whether a query looks at the children of an error in time: at each it looks on to the next that has a name."""
    if error.child_count <= LONGEST_RUN:
        return True
    run = 0
    for child in error.children:
        run = 0 if child.is_named else run + 1
        if run > LONGEST_RUN:
            return False
    return True


def captured(query: Query, tree: Tree, low: int, high: int) -> dict[str, list[Node]]:
    """The nodes of a query that touch a range, by capture."""
    cursor = QueryCursor(query)
    cursor.set_byte_range(low, high)
    cursor.set_max_start_depth(DEPTH)
    return cursor.captures(tree.root_node)


def matched(query: Query, tree: Tree) -> list[dict[str, list[Node]]]:
    """The matches of a query in a whole tree, each by capture."""
    cursor = QueryCursor(query)
    cursor.set_max_start_depth(DEPTH)
    return [captures for _, captures in cursor.matches(tree.root_node)]


def around(tree: Tree, offset: int) -> list[Node]:
    """The nodes that hold the character left of an offset, innermost first.

    They are gone through from the root: a node finds its parent by doing the same anew.
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


def _stopwatch(characters: int) -> Callable[[], bool]:
    """Tells whether the time for so many characters is over, from now on."""
    until = thread_time() + SECONDS + SECONDS_A_CHARACTER * characters
    return lambda: thread_time() > until


def _is_too_deep(source: bytes) -> bool:
    if source.count(b"<") <= DEEPEST:
        return False
    depth = 0
    for sign in _signs(source):
        if sign == "<":
            depth += 1
            if depth > DEEPEST:
                return True
        else:
            depth = max(0, depth - 1) if sign == ">" else 0
    return False


def _signs(source: bytes) -> Iterator[str]:
    return (match.group() for match in _ANGLES.finditer(source.decode("ascii")))
