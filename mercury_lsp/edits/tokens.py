"""Splits texts into tokens, and compares two texts token by token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from mercury_lsp.edits.history import Edit

_TOKEN = re.compile(r"[^\W\d]\w*|\d[\w.]*|\n|[^\w\s]")
_WORD = re.compile(r"\w")
_IDENTIFIER = re.compile(r"[^\W\d]\w*\Z")
_BLANKS = re.compile(r"[^\S\n]*")
MAX_COMPARED_TOKENS = 400


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text, which are words, numbers, signs and newlines, but no other whitespace.

    `starts` and `ends` are offsets in the text plus the `base` of `of`.
    """

    texts: list[str]
    starts: list[int]
    ends: list[int]

    @classmethod
    def of(cls, text: str, base: int = 0) -> Tokens:
        """Split a text into tokens."""
        found = [(match.group(), match.start() + base, match.end() + base) for match in _TOKEN.finditer(text)]
        return cls([one[0] for one in found], [one[1] for one in found], [one[2] for one in found])

    def blank(self, text: str, number: int, base: int = 0) -> str:
        """Return the whitespace before a token of the text, or after the last one."""
        low = self.ends[number - 1] if number else base
        high = self.starts[number] if number < len(self.starts) else len(text) + base
        return text[low - base : high - base]


@dataclass(frozen=True, slots=True)
class Hunk:
    """A replacement of tokens in a document.

    `start`, `end`: the range of the new text, from the end of the token before it to the start of the token after it.
    So both sides, `before_text` and `after_text`, include the whitespace around their tokens. `was`: the start in the
    old text, without a base.
    """

    start: int
    end: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    before_text: str
    after_text: str
    was: int


def is_word(token: str) -> bool:
    """Return whether a token is a word or a number."""
    return bool(_WORD.match(token))


def is_identifier(token: str) -> bool:
    """Return whether a token is a word but no number."""
    return bool(_IDENTIFIER.match(token))


def hunks(text: str, edit: Edit) -> list[Hunk]:
    """Return the hunks of an edit in `text`, the text after the edit; none if it changed only whitespace."""
    low, high = edit.start, edit.end
    while low > 0 and not text[low - 1].isspace() and edit.start - low < 80:
        low -= 1
    low = _line_edge(text, low)
    while high < len(text) and not text[high].isspace() and high - edit.end < 80:
        high += 1
    head, tail = text[low : edit.start], text[edit.end : high]
    return compared(head + edit.before + tail, head + edit.after + tail, low)


def compared(old: str, new: str, base: int = 0) -> list[Hunk]:
    """Return the hunks between two texts; the new one begins at the offset `base`."""
    one, other = Tokens.of(old), Tokens.of(new)
    made = []
    for low, high, first, last in _changed(one.texts, other.texts):
        start = other.ends[first - 1] if first else 0
        end = other.starts[last] if last < len(other.starts) else len(new)
        was_start = one.ends[low - 1] if low else 0
        was_end = one.starts[high] if high < len(one.starts) else len(old)
        made.append(
            Hunk(
                base + start,
                base + end,
                tuple(one.texts[low:high]),
                tuple(other.texts[first:last]),
                old[was_start:was_end],
                new[start:end],
                was_start,
            )
        )
    return made


def _changed(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Return the ranges of different tokens in both texts."""
    if len(one) + len(other) > MAX_COMPARED_TOKENS:
        most = min(len(one), len(other))
        head = next((i for i in range(most) if one[i] != other[i]), most)
        most -= head
        tail = next((i for i in range(most) if one[-1 - i] != other[-1 - i]), most)
        ranges = (head, len(one) - tail, head, len(other) - tail)
        return [ranges] if ranges[0] < ranges[1] or ranges[2] < ranges[3] else []
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return [tuple(code[1:]) for code in matcher.get_opcodes() if code[0] != "equal"]  # type: ignore[misc]


def _line_edge(text: str, at: int) -> int:
    """Return the start of the line if only blanks precede the offset in it, or else the offset."""
    start = text.rfind("\n", 0, at) + 1
    return start if _BLANKS.fullmatch(text, start, at) else at
