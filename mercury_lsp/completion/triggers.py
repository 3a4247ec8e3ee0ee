"""Decides by the syntax alone where an automatic suggestion would be in the way.

The rules are applied before the model runs, so that they also save power; a manual request is answered everywhere. Of
what the model would have shown in held-out code, one in seven was right in the middle of words and none before words,
against one in two elsewhere; after `;` there was nothing at all. In strings it was one in three, in comments nearly
one in two, so an option decides there.
"""

from __future__ import annotations

import re

from mercury_lsp.syntax.indentation import depth, joined
from mercury_lsp.syntax.tree import Syntax

_WORD = re.compile(r"\w")
_FINISHED = re.compile(r"(pass|break|continue)$")  # statements of Python behind which nothing can come


def refused(syntax: Syntax, offset: int, in_strings_and_comments: bool = True) -> str | None:
    """Why nothing is suggested automatically at an offset, as a clause for the user; None if no rule says so."""
    document = syntax.document
    line, column = document.position(offset)
    left, rest = document.line(line)[:column], document.line(line)[column:]
    if _WORD.match(rest):
        if _WORD.match(left[-1:]):
            return "the cursor is in the middle of a word"
        if left.strip():
            return "the cursor is right before a word"
    if rest.strip() and not left.strip() and (rest[0].isspace() or _WORD.match(rest)):
        return "the cursor is in the indentation of a line that is there already"
    inside = syntax.text_around(offset)
    if inside is not None and not in_strings_and_comments:
        return f"the cursor is in a {inside}, where in_strings_and_comments switches suggestions off"
    if inside is None and not rest.strip() and _ended(syntax, offset, left):
        return "the statement before the cursor is complete"
    return None


def _ended(syntax: Syntax, offset: int, left: str) -> bool:
    """Whether a statement ends right before the end of a line at an offset."""
    if syntax.language is None:
        return False
    code = syntax.code(offset - len(left), offset)
    statement = joined([code])
    if statement.endswith(";") and syntax.language.line_comment == "//":  # in shells `then` may follow
        return depth(code) <= 0  # else it is the head of a `for`
    return syntax.language.offside and _FINISHED.match(statement) is not None
