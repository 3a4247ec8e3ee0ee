"""Balances delimiters of several characters, and tags, with the delimiters after the cursor.

Most languages with such pairs have no grammar here, so the pairs are in a small table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PAIRS = (
    ("<!--", "-->"),
    ("{{", "}}"),
    ("{%", "%}"),
    ("<%", "%>"),
    ("<?", "?>"),
    ("/*", "*/"),
    ("(*", "*)"),
    ("{-", "-}"),
    ("#|", "|#"),
    ("[[", "]]"),
    ("<", ">"),
)
# Operators whose `<` or `>` is no angle bracket.
_ARROW = re.compile("->|=>|>=|<=|<-")
_END_TAG = re.compile(r"\s*</([\w.:-]+)\s*>")


def balance(text: str, left: str, rest: str) -> str:
    """Return the text without an opener with which `left` already ends, and up to a closer with which `rest` begins."""
    pair = _around(left, rest)
    if pair is None:
        return text
    bare = text.lstrip(" \t")
    again = re.compile(f"(?:{pair.opener})").match(bare)
    if again and re.search(rf"(?:{pair.opener})\s*\Z", left):
        text = bare[again.end() :]
    return text[: pair.scan(text)[0]]


def leaves_open(text: str, left: str, rest: str) -> bool:
    """Return whether a text leaves an opener open whose closer `rest` begins with."""
    pair = _around(left, rest)
    return pair is not None and pair.scan(text)[1] > 0


@dataclass(frozen=True, slots=True)
class _Pair:
    """Regular expressions of an opener and a closer."""

    opener: str
    closer: str

    def scan(self, text: str) -> tuple[int, int]:
        """Return the index of the first surplus closer, or the text's length, and the number of open openers."""
        if self.opener == "<":
            text = _ARROW.sub("  ", text)
        depth = 0
        for mark in re.finditer(f"({self.opener})|{self.closer}", text):
            depth += 1 if mark[1] else -1
            if depth < 0:
                return mark.start(), 0
        return len(text), depth


def _around(left: str, rest: str) -> _Pair | None:
    """Return the pair whose closer begins the rest of the line; None if there is none."""
    if tag := _END_TAG.match(rest):
        name = re.escape(tag[1])
        return _Pair(rf"<{name}(?:\s[^<>]*)?(?<!/)>", rf"</{name}\s*>")
    for opener, closer in _PAIRS:
        if rest.lstrip().startswith(closer) and left.rfind(opener) > left.rfind(closer):
            return _Pair(re.escape(opener), re.escape(closer))
    return None
