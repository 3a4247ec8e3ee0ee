"""Decides by syntax where an automatic suggestion would be in the way.

The rules are applied before the model runs, which also saves power; manual requests are answered everywhere. In
held-out code, one in seven of the model's suggestions was right in the middle of a word and none directly before a
word, against one in two at other places; after `;` nothing would have been shown. In strings it was one in three and
in comments nearly one in two, so an option decides there.
"""

from __future__ import annotations

import re

from mercury_lsp.syntax.indentation import bracket_depth, join_stripped
from mercury_lsp.syntax.tree import Syntax

_WORD = re.compile(r"\w")
# Statements of Python after which nothing can follow in the line.
_FINISHED = re.compile(r"(pass|break|continue)$")


def refusal_reason(syntax: Syntax, offset: int, in_strings_and_comments: bool = True) -> str | None:
    """Return why nothing is suggested automatically at an offset, as a clause for the user; None if no rule applies."""
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
    if inside is None and not rest.strip() and _is_statement_complete(syntax, offset, left):
        return "the statement before the cursor is complete"
    return None


def _is_statement_complete(syntax: Syntax, offset: int, left: str) -> bool:
    """Return whether a statement is complete at an offset at the end of a line, whose text so far is `left`."""
    if syntax.language is None:
        return False
    code = syntax.code(offset - len(left), offset)
    statement = join_stripped([code])
    # In shells `then` may follow a semicolon; within brackets the semicolon is in the head of a `for`.
    if statement.endswith(";") and syntax.language.line_comment == "//":
        return bracket_depth(code) <= 0
    return syntax.language.offside and _FINISHED.match(statement) is not None
