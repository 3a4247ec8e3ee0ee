"""Cuts a text before an `end` that closes no block, which Ruby's and other grammars parse as a name without error."""

from __future__ import annotations

import re

from mercury_lsp.completion.fitting.insertion import InsertionPoint
from mercury_lsp.syntax.indentation import width

LANGUAGES = frozenset(["ruby", "lua", "elixir", "julia", "crystal"])
LOOK_BACK_LINES = 400

_END = re.compile(r"\s*end\b")
_OPENS = re.compile(
    r"\s*(?:\w+[ \t]+){0,3}(?:def|class|module|if|unless|while|until|for|case|begin|function|struct|macro)\b"
    r"|.*(?:\bdo(?:\s*\|[^|]*\|)?|\bthen|\bfunction\b.*|[=(]\s*(?:if|case|begin|unless)\b.*)\s*\Z"
)
_VALUE = re.compile(r"(?:case|if|unless|begin|while|function)\b")


def without_surplus_end(text: str, point: InsertionPoint) -> str:
    """Cut before the first `end` whose indentation matches no open block."""
    document = point.syntax.document
    lines = text.split("\n")
    if document.language_id not in LANGUAGES or point.in_text or not any(map(_END.match, lines[1:])):
        return text
    above = [document.line(number) for number in range(max(0, point.line - LOOK_BACK_LINES), point.line)]
    written = [*above, point.left + lines[0], *lines[1:]]
    for number in range(1, len(lines)):
        if _END.match(lines[number]) and not _is_open(written[: len(above) + number], width(lines[number])):
            return "\n".join(lines[:number])
    return text


def _is_open(lines: list[str], indented: int) -> bool:
    """Return whether a block with this indentation is open; True if it may begin more than `LOOK_BACK_LINES` above."""
    ended = 0
    for line in reversed(lines):
        if not line.strip() or width(line) > indented:
            continue
        if width(line) < indented:
            # An `end` may be aligned with a `case` in the middle of the line.
            return _VALUE.match(line.expandtabs(8)[indented:]) is not None
        if _END.match(line):
            ended += 1
        elif _OPENS.match(line):
            if not ended:
                return True
            ended -= 1
    return len(lines) >= LOOK_BACK_LINES
