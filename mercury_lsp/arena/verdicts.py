"""Judges which of two answers is better at a place, by the user's own text.

An answer equal to the user's text beats one that is not. Otherwise the answer wins that shares more of its start with
the user's text, by at least `TIE_SHARE` of the user's characters; else it is a tie. An empty answer shares nothing, so
it ties with one that is wrong from its first character. If the missing text is one line, only the first line of an
answer counts; blanks at the end never count.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from mercury_lsp.arena.contestants import ContestantAnswer
from mercury_lsp.arena.edits import Edit
from mercury_lsp.syntax.document import plain

TIE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Worth:
    """The agreement of an answer with the user's text: `exact`, or the `share` of characters before a difference."""

    exact: bool
    share: float


def answer_worth(edit: Edit, answer: ContestantAnswer) -> Worth:
    """Compare an answer with the user's text."""
    replaced = edit.suffix[: answer.end - len(edit.prefix)]
    truth, found = _bare(edit.middle + replaced), _bare(answer.shown)
    if "\n" not in truth:
        found = found.partition("\n")[0].rstrip()
    shared = len(os.path.commonprefix([truth, found]))
    return Worth(truth == found, shared / len(truth) if truth else 0.0)


def score(one: Worth, two: Worth) -> float:
    """The score of the first one: 1, 0, or 0.5 in a tie."""
    if one.exact != two.exact:
        return float(one.exact)
    if abs(one.share - two.share) <= TIE_SHARE:
        return 0.5
    return float(one.share > two.share)


def look_alike(one: ContestantAnswer, two: ContestantAnswer) -> bool:
    """Whether two answers look alike."""
    return _bare(one.shown) == _bare(two.shown) and (one.end == two.end or not one.shown)


def _bare(text: str) -> str:
    return "\n".join(line.rstrip() for line in plain(text).split("\n")).rstrip()
