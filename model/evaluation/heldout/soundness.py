"""Checks whether a suggestion breaks the syntax, or repeats the text around it.

The checks judge `completion.postprocess`, so they do not share code with it: a document is parsed from scratch, and
lines are compared verbatim.
"""

from __future__ import annotations

import re

from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax

_WORD = re.compile(r"\w")
# A line with fewer letters, digits and underscores may be repeated, such as brackets alone.
LEAST = 2

# Characters.
LEAST_LEFT = 10


def adds_syntax_errors(document: Document, start: int, end: int, shown: str) -> bool:
    """Return whether replacing the text from ``start`` to ``end`` by ``shown`` adds syntax errors to a document."""
    after = document.replace(start, end, shown, document.version)
    return Syntax.of(after).error_count() > Syntax.of(document).error_count()


def repeats(document: Document, start: int, end: int, shown: str) -> bool:
    """Return whether ``shown`` ends with the rest of the cursor's line, or its last line equals the following line.

    Lines are compared without surrounding whitespace. If the author may have repeated a line, the caller should call
    this with the author's text as well.
    """
    line, _ = document.position(start)
    line_start, line_end = document.span(line)
    rest = document.text[end:line_end].strip()
    if _says(rest) and shown.rstrip().endswith(rest):
        return True
    inserted = (document.text[line_start:start] + shown + document.text[end:line_end]).splitlines()
    last = next((line.strip() for line in reversed(inserted) if line.strip()), "")
    below = (document.line(number).strip() for number in range(line + 1, document.line_count))
    return _says(last) and last == next((line for line in below if line), "")


def _says(line: str) -> bool:
    return len(_WORD.findall(line)) >= LEAST


def repeats_left(document: Document, offset: int, shown: str) -> bool:
    """Return whether ``shown`` begins by repeating the text directly left of the cursor in its line.

    Only repetitions of at least `LEAST_LEFT` characters that contain a word count; shorter ones are often right
    (``a.a``).
    """
    left = document.text[document.span(document.position(offset)[0])[0] : offset].lstrip()
    lengths = range(LEAST_LEFT, min(len(left), len(shown)) + 1)
    return any(left.endswith(shown[:length]) and _says(shown[:length]) for length in lengths)
