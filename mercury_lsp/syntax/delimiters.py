"""Balance delimiters of several characters, and tags, with those that stand after the cursor.

Most languages that have such pairs have no grammar here, so a small table of pairs tells.
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
_ARROW = re.compile("->|=>|>=|<=|<-")  # with an angle bracket in it that is none
_END_TAG = re.compile(r"\s*</([\w.:-]+)\s*>")


def balanced(text: str, left: str, rest: str) -> str:
    """A text without what opens again what `left` ends with, and what closes before the `rest` of the line does."""
    pair = _around(left, rest)
    if pair is None:
        return text
    bare = text.lstrip(" \t")
    again = re.compile(f"(?:{pair.opener})").match(bare)
    if again and re.search(rf"(?:{pair.opener})\s*\Z", left):
        text = bare[again.end() :]
    return text[: pair.read(text)[0]]


def leaves_open(text: str, left: str, rest: str) -> bool:
    """Whether a text opens again, and does not close, what the `rest` of the line closes."""
    pair = _around(left, rest)
    return pair is not None and pair.read(text)[1] > 0


@dataclass(frozen=True, slots=True)
class _Pair:
    """Regular expressions of what opens and what closes."""

    opener: str
    closer: str

    def read(self, text: str) -> tuple[int, int]:
        """Where the first closer is that has no opener, or the text's length, and how many openers are left open."""
        if self.opener == "<":
            text = _ARROW.sub("  ", text)
        depth = 0
        for mark in re.finditer(f"({self.opener})|{self.closer}", text):
            depth += 1 if mark[1] else -1
            if depth < 0:
                return mark.start(), 0
        return len(text), depth


def _around(left: str, rest: str) -> _Pair | None:
    """The pair whose closer the rest of the line begins with."""
    if tag := _END_TAG.match(rest):
        name = re.escape(tag[1])
        return _Pair(rf"<{name}(?:\s[^<>]*)?(?<!/)>", rf"</{name}\s*>")
    for opener, closer in _PAIRS:
        if rest.lstrip().startswith(closer) and left.rfind(opener) > left.rfind(closer):
            return _Pair(re.escape(opener), re.escape(closer))
    return None
