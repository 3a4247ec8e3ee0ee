"""Who of two was better at a place, by what the user wrote there.

Owns that judgment, which needs nobody's eyes. Pure; knows neither models nor users.

A text that is exactly what the user wrote beats one that is not. Else the one wins that has more of its start in
common with it, by the share of the user's characters, if that is more than `MARGIN` apart; nearer is a tie. To show
nothing has nothing in common, and so ties with what is wrong from its first character. Where a line or its rest is
missing, only a text's first line counts; blanks at the end never do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from mercury_lsp.arena.contestants import Answer
from mercury_lsp.arena.edits import Edit
from mercury_lsp.syntax.document import plain

MARGIN = 0.1  # of the user's characters


@dataclass(frozen=True, slots=True)
class Worth:
    """What an answer has of the user's text: all of it, or the `share` of its characters up to the first difference."""

    exact: bool
    share: float


def worth(edit: Edit, answer: Answer) -> Worth:
    """Compare an answer with the user's text."""
    replaced = edit.suffix[: answer.end - len(edit.prefix)]
    truth, found = _bare(edit.middle + replaced), _bare(answer.shown)
    if "\n" not in truth:
        found = found.partition("\n")[0].rstrip()
    shared = len(os.path.commonprefix([truth, found]))
    return Worth(truth == found, shared / len(truth) if truth else 0.0)


def score(one: Worth, two: Worth) -> float:
    """What the first of two wins: 1, 0, or 0.5 in a tie."""
    if one.exact != two.exact:
        return float(one.exact)
    if abs(one.share - two.share) <= MARGIN:
        return 0.5
    return float(one.share > two.share)


def same(one: Answer, two: Answer) -> bool:
    """Whether two answers look alike, so that there is nothing to choose."""
    return _bare(one.shown) == _bare(two.shown) and (one.end == two.end or not one.shown)


def _bare(text: str) -> str:
    return "\n".join(line.rstrip() for line in plain(text).split("\n")).rstrip()
