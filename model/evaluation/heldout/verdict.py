"""Compares a suggestion with the author's text, and counts the keys that it saves.

Whitespace at the end of a line or of the text never counts; everything else does.

*Spared* are the keys that the user does not have to press. A text takes one key for each character and each new line;
the editor indents lines. A user accepts the suggestion's lines one by one, with one key each, while they are exactly
the author's; ``spared`` is the number of keys of these lines minus the keys for accepting them. If the first line is
wrong anywhere, nothing is spared. With ``spared_by_word``, the user also accepts the right words of the first wrong
line, again with one key each; a word is a run of letters and digits, or of other marks.

*Ending* classifies where the model stops, in its own text before any post-processing: ``right``; ``short``, right so
far, but text is missing; ``over``, right up to the end of the hole, then more; ``other``, wrong before that. If the
server asked for one line only, the ending is measured against the hole's first line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A line, with the blank lines above it.
_LINE = re.compile(r"\s*\S[^\n]*")
WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a suggestion; ``keys`` is the number of keys of the hole, for the rest see the module."""

    exact: bool
    first_line: bool
    ending: str
    keys: int
    spared: int
    spared_by_word: int


def judge(
    hole: str, shown: str | None, replaced: str, said: str, finished: bool, one_line: bool, fresh: bool
) -> Verdict:
    """Judge a suggestion, which stands in place of the hole and the following text ``replaced``.

    shown: the suggestion, or None. said: the model's text before post-processing. fresh: whether the cursor's line has
    only whitespace before the cursor, so that indentation costs no keys.
    """
    truth, found = _lines(hole + replaced), _lines(shown or "")
    right = _common_length(truth, found)
    keys = _keys(hole, fresh)
    spared = max(0, _keys("".join(truth[:right]), fresh) - right)
    words = 0
    if right < min(len(truth), len(found)):
        ours, theirs = (WORD.findall(lines[right]) for lines in (truth, found))
        same = _common_length(ours, theirs)
        words = _keys("".join(ours[:same]), fresh and right == 0) - same
    return Verdict(
        exact=shown is not None and truth == found,
        first_line=right > 0,
        ending=_ending(hole, said, finished, one_line),
        keys=keys,
        spared=min(spared, keys),
        spared_by_word=min(spared + max(0, words), keys),
    )


def right_so_far(hole: str, shown: str, replaced: str) -> bool:
    """Return whether the first line of a text, which may have been cut off, is right, or the whole text is.

    A text that ends within a word of the author is not right.
    """
    truth, found = _lines(hole + replaced), _lines(shown)
    return _common_length(truth, found) > 0 or _begins(truth, found)


def spared_so_far(hole: str, shown: str, replaced: str, fresh: bool) -> int:
    """Return the keys that a text saves if it is right as far as it goes, else 0; accepting a line takes one key."""
    truth, found = _lines(hole + replaced), _lines(shown)
    if not _begins(truth, found):
        return 0
    return max(0, min(_keys("".join(found), fresh), _keys(hole, fresh)) - len(found))


def _begins(truth: list[str], found: list[str]) -> bool:
    """Return whether ``truth`` begins with the lines ``found``, of which the last may end early, between two words."""
    if not found or len(found) > len(truth) or found[:-1] != truth[: len(found) - 1]:
        return False
    whole, begun = truth[len(found) - 1], found[-1]
    return whole.startswith(begun) and not re.match(r"\w\w", whole[len(begun) - 1 :])


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in _LINE.findall(text)]


def _common_length(one: list[str], other: list[str]) -> int:
    """Count the equal items at the beginning of two lists."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _keys(text: str, fresh: bool) -> int:
    if fresh:
        text = text.lstrip(" \t")
    return len(re.sub(r"[ \t]*\n[ \t]*", "\n", text.rstrip()))


def _ending(hole: str, said: str, finished: bool, one_line: bool) -> str:
    truth, found = _lines(hole), _lines(said)
    if one_line:
        truth = truth[:1]
    ours, theirs = "".join(truth), "".join(found)
    if ours == theirs:
        return "right" if finished else "over"
    if ours.startswith(theirs):
        return "short"
    return "over" if theirs.startswith(ours) else "other"
