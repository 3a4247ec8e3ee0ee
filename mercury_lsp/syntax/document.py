r"""Defines a text document at one version as an immutable value.

Lines end at \n, \r\n and \r only, by the protocol; Python's `str.splitlines` also ends them at form feeds, U+2028 and
others. Positions are pairs of line and character, offsets are integers, and both count code points.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from copy import copy
from dataclasses import dataclass, field

_SURROGATE = re.compile("[\ud800-\udfff]")
_ENDING = re.compile(r"\r\n|\r|\n")


def well_formed(text: str) -> str:
    """Replace each lone surrogate by U+FFFD, because tokenizers, parsers and files do not accept surrogates.

    JSON can contain them. The replacement has the same length in each of the three position encodings.
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def plain(text: str) -> str:
    r"""Replace all line endings of a text by \n, and each lone surrogate by a question mark."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def common_prefix_length(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts, by bisection, because the texts may be long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True, slots=True)
class Document:
    """A document at one version.

    `path`: the path that the model sees, POSIX and relative to the workspace, or the file name; may be empty. Two
    versions with the same text are equal, because nothing depends on the editor's version numbers.
    """

    uri: str
    path: str
    language_id: str
    version: int = field(compare=False)
    text: str
    _starts: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_starts", [0, *_ends(self.text, 0)])

    @property
    def line_count(self) -> int:
        """The number of lines, at least one: the text after the last line ending is a line even if it is empty."""
        return len(self._starts)

    @property
    def eol(self) -> str:
        r"""The line ending of the first line; \n in a document of one line."""
        first = _ENDING.search(self.text)
        return first.group() if first else "\n"

    def line(self, number: int) -> str:
        """Return a line without its ending. Raises `IndexError` outside of `range(line_count)`."""
        start, end = self.span(number)
        return self.text[start:end]

    def span(self, number: int) -> tuple[int, int]:
        """Return the offsets of a line's start and end, without the line ending. Raises `IndexError` like `line`."""
        if not 0 <= number < len(self._starts):
            raise IndexError(f"no line {number} in {len(self._starts)} lines")
        start = self._starts[number]
        if number + 1 == len(self._starts):
            return start, len(self.text)
        end = self._starts[number + 1] - 1
        return start, end - 1 if end > start and self.text[end - 1 : end + 1] == "\r\n" else end

    def offset(self, line: int, character: int) -> int:
        """Return the offset of a position, clamped to the end of its line, or of the text after the last line."""
        if line < 0:
            return 0
        if line >= len(self._starts):
            return len(self.text)
        start, end = self.span(line)
        return min(start + max(0, character), end)

    def position(self, offset: int) -> tuple[int, int]:
        r"""Return line and character of an offset, clamped to the text; inside of \r\n, the end of the line."""
        offset = max(0, min(offset, len(self.text)))
        line = bisect_right(self._starts, offset) - 1
        start, end = self.span(line)
        return line, min(offset, end) - start

    def replace(self, start: int, end: int, text: str, version: int) -> Document:
        """Return the document at a new version with the characters from `start` to `end` replaced."""
        changed, longer = self.text[:start] + text + self.text[end:], len(text) - (end - start)
        # Only the changed lines are split again, and the line before them, because \r and \n may meet.
        first = max(0, bisect_left(self._starts, start) - 1)
        after = bisect_right(self._starts, end)
        begin = self._starts[first]
        until = self._starts[after] + longer if after < len(self._starts) else len(changed)
        later = self._starts[after + 1 :]
        starts = self._starts[: first + 1]
        starts += _ends(changed[begin:until], begin)
        starts += later if not longer else [place + longer for place in later]
        replaced = copy(self)
        for name, value in (("version", version), ("text", changed), ("_starts", starts)):
            object.__setattr__(replaced, name, value)
        return replaced


def _ends(text: str, offset: int) -> list[int]:
    """Return the ends of all line endings of a text that begins at an offset."""
    return [offset + match.end() for match in _ENDING.finditer(text)]
