"""Judges what a suggestion is worth, against the text that stood there.

Owns the definitions. Blanks at the end of a line or of the text never count, everything else does.

*Spared* are keys that the user need not press. A text takes one key for each character and each new line; blanks
that begin a line are the editor's. A user takes the suggestion's lines from the first on, while each is exactly the
one that stood there, by one key for each line: spared are the keys of those lines less these. A first line that is
wrong anywhere spares nothing. ``spared_by_word`` is softer: the first line that is not right is taken word by word
(a run of letters and digits, or of other marks), while the words are right, again by one key each.

*Ending* is about where the model itself stops, in its own text before any post-processing: ``right``; ``short``,
right so far but something is missing; ``over``, right up to the hole's end and then more; ``other``, wrong before
either. Where the server asked for one line only, the hole's first line is what it is measured by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(r"\s*\S[^\n]*")  # with the blank lines above it
WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``keys``: that the hole takes; the others as the module tells."""

    exact: bool
    first_line: bool
    ending: str
    keys: int
    spared: int
    spared_by_word: int


def judge(
    hole: str, shown: str | None, replaced: str, said: str, finished: bool, one_line: bool, fresh: bool
) -> Verdict:
    """Compare what is ``shown`` in place of a hole, and of ``replaced`` behind it, and what the model ``said``.

    fresh: whether the cursor's line has only blanks before it, so that its indentation costs no keys.
    """
    truth, found = _lines(hole + replaced), _lines(shown or "")
    right = _agreeing(truth, found)
    keys = _keys(hole, fresh)
    spared = max(0, _keys("".join(truth[:right]), fresh) - right)
    words = 0
    if right < min(len(truth), len(found)):
        ours, theirs = (WORD.findall(lines[right]) for lines in (truth, found))
        same = _agreeing(ours, theirs)
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
    """Whether a text that may have been cut off is right in its first line, or as far as it goes.

    What ends within a word that stood there is not.
    """
    truth, found = _lines(hole + replaced), _lines(shown)
    return _agreeing(truth, found) > 0 or _begins(truth, found)


def spared_so_far(hole: str, shown: str, replaced: str, fresh: bool) -> int:
    """Keys that a text spares which is right as far as it goes, taken by one key for each line; 0 for any other."""
    truth, found = _lines(hole + replaced), _lines(shown)
    if not _begins(truth, found):
        return 0
    return max(0, min(_keys("".join(found), fresh), _keys(hole, fresh)) - len(found))


def _begins(truth: list[str], found: list[str]) -> bool:
    """Whether lines are the first ones of others, but that the last may end early, between two words."""
    if not found or len(found) > len(truth) or found[:-1] != truth[: len(found) - 1]:
        return False
    whole, begun = truth[len(found) - 1], found[-1]
    return whole.startswith(begun) and not re.match(r"\w\w", whole[len(begun) - 1 :])


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in _LINE.findall(text)]


def _agreeing(one: list[str], other: list[str]) -> int:
    """How many items from the first on are the same."""
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
