"""Checks what a suggestion must not do: break the syntax, or repeat what stands around it.

Owns the definitions. They are written apart from those that `completion.postprocess` goes by, for they judge it:
a document is parsed afresh, and lines are compared as they stand.
"""

from __future__ import annotations

import re

from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax

_WORD = re.compile(r"\w")
LEAST = 2  # letters, digits and underscores in a line that says anything: brackets alone may well stand twice

LEAST_LEFT = 10  # characters


def worsened(document: Document, start: int, end: int, shown: str) -> bool:
    """Whether a document has more errors of syntax once ``shown`` stands in place of the characters up to ``end``."""
    after = document.replace(start, end, shown, document.version)
    return Syntax.of(after).errors() > Syntax.of(document).errors()


def repeats(document: Document, start: int, end: int, shown: str) -> bool:
    """Whether the end of ``shown`` is the rest of the cursor's line, or its last line the one that follows, again.

    Lines are compared without the blanks around them. That the author wrote a line twice is for the caller to see:
    of what stood there this can be asked as well.
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
    """Whether ``shown`` begins with what stands directly left of the cursor in its line, again.

    At least `LEAST_LEFT` characters, of which some are of a word: shorter pieces are often right twice (``a.a``).
    """
    left = document.text[document.span(document.position(offset)[0])[0] : offset].lstrip()
    lengths = range(LEAST_LEFT, min(len(left), len(shown)) + 1)
    return any(left.endswith(shown[:length]) and _says(shown[:length]) for length in lengths)
