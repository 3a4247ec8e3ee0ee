r"""Chooses how much of a text is shown automatically: as much as has the highest expected gain.

A user who is shown ``k`` words, of which the first ``j`` are right, accepts all at one key if all are right, and else
word by word at a key each, and has looked in vain where the first one is wrong. Let ``P_j`` be the probability that the
first ``j`` words are right, ``L_j`` their characters, ``c`` the keys that looking in vain is worth, and ``r`` those
that reading a wrong word is worth. The gain of showing ``k`` words is, in keys,

    G(k) = P_k (L_k - 1) + sum over j < k of (P_j - P_(j+1)) max(0, L_j - j)
           - c (1 - P_1) - r sum over j <= k of (1 - P_j)

so that a doubtful rest is cut off, and lines are added as long as they are likely enough to be right together with
those before. Nothing is shown where no ``k`` has a positive gain.

``c`` follows from the option `show_likelihood`: with it, a word of `TYPICAL_KEYS` breaks even at just that probability.
The model's probabilities count as they are: they are calibrated (expected error 0.025 to 0.039 on two halves of the
held-out projects), and offset and slope of their log-odds, fitted on one half, (0.441, 0.869), were worse on the other
(0.034 instead of 0.025). Recorded and reported by ``python -m model.evaluation.calibration.calibrate --record
keystrokes.jsonl --per-language 40 --minutes 13``: 129 lines of 14 held-out projects, model ``small``. The default of
`show_likelihood` is 0.5, of these lines all together: at 0.2 they are spared 53.9% of the keys with 30% of what is
shown wrong from its first word, at 0.5 52.1% with 22%, at 0.7 49.9% with 14%.
Semantics of what is accepted: acceptance word by word as editors have it. Showing by expected utility: Horvitz 1999;
for code completion, Mozannar et al. 2024.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from os.path import commonprefix
from typing import TYPE_CHECKING

from mercury_lsp.completion.fitting.insertion import PAIRS
from mercury_lsp.engine.api import Infill, ScoredToken

if TYPE_CHECKING:
    from mercury_lsp.completion.types import Completion

TYPICAL_KEYS = 5.0
"""Keys that a right first word of 6 characters saves, for the break-even that `show_likelihood` names."""

READING_KEYS = 0.25
"""Keys that reading a wrong word is worth."""

MAX_JUDGED = 4
"""Beginnings of a text for which it is looked again what fits, and for which the syntax is asked: milliseconds each."""

_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+\Z")
_QUOTE = re.compile(r"(?<!\w)['\"`]|(?<=\w)[\"`]")  # an apostrophe within a word is none


@dataclass(frozen=True, slots=True)
class Cut:
    """The first ``end`` characters of a text, and the expected gain, in keys, of showing them."""

    end: int
    gain: float


def cuts(text: str, pieces: Sequence[ScoredToken], show_likelihood: float) -> list[Cut]:
    """The beginnings of a text that are worth showing, the best first.

    ``pieces`` are the text's tokens, see `Infill`. Where there are none, because a model tells no probabilities, the
    whole text is taken to be worth it. Within a line no text is cut between brackets or quotes that it opens itself, so
    that what is accepted leaves none open; on 129 recorded held-out lines that costs 0.8 points of the keys saved.
    """
    if not pieces:
        return [Cut(len(text), 1.0)]
    cost = TYPICAL_KEYS * show_likelihood / max(1e-9, 1 - show_likelihood) - READING_KEYS
    found, accepted, read = [], 0.0, 0.0
    surety, closed = words(text, pieces), _closed_ends(text)
    for k, (end, right) in enumerate(surety, 1):
        read += READING_KEYS * (1 - right)
        gain = right * (end - 1) + accepted - cost * (1 - surety[0][1]) - read
        if gain > 0 and (text[end : end + 1] in ("", "\n") or end in closed):
            found.append(Cut(end, gain))
        following = surety[k][1] if k < len(surety) else 0.0
        accepted += (right - following) * max(0, end - k)
    return sorted(found, key=lambda cut: (-cut.gain, cut.end))


def worth_showing(
    infill: Infill,
    found: Completion,
    fitting: Callable[[Infill], Completion | None],
    least: float,
    eol: str = "\n",
    rest: str = "",
    sound: Callable[[str], bool] = lambda text: True,
) -> Completion | None:
    """The beginning of what fits of a text, as was found, that is worth most; None where none is.

    ``fitting`` tells what fits of the text's first lines; ``least`` is the option `show_likelihood`, above 0; ``eol``
    is the document's line ending; ``rest`` is what stands after the cursor in its line, which may need a line of its
    own and no comma before it; ``sound`` tells whether the document's syntax is no worse with a beginning of the text
    than without, which is asked for the `MAX_JUDGED` best.
    """
    shown = (found.shown or "").replace(eol, "\n")
    same = len(commonprefix([shown, infill.text]))
    text = shown if same == len(shown) else infill.text
    judged = tried = 0
    for cut in cuts(text, infill.scored, least):
        if cut.end >= min(len(shown.rstrip()), len(text)):
            return found
        if found.end > found.start or not text[: cut.end].strip():
            continue
        part = infill.until(cut.end)
        if text[cut.end] == "\n" or (rest.strip() and judged < MAX_JUDGED):
            judged += 1
            if (fits := fitting(part)) is not None:
                return fits
        if cut.end <= same and not (rest.strip() and "\n" in shown[: cut.end]):
            tried += 1
            if tried > MAX_JUDGED:
                return None
            if not sound(shown[: cut.end].replace("\n", eol)):
                continue
            return replace(found, shown=shown[: cut.end].replace("\n", eol), infill=part)
    return None


def words(text: str, pieces: Sequence[ScoredToken]) -> list[tuple[int, float]]:
    """Where each word of a text ends, and the probability that the text is right so far.

    That is so if all tokens are right which begin before that end. Words are accepted with the blanks before them.
    """
    sums = [0.0, *accumulate(piece.logp for piece in pieces)]
    begins = [0, *(piece.end for piece in pieces)]
    found, at = [], 0
    for match in _WORD.finditer(text):
        while at < len(pieces) and begins[at] < match.end():
            at += 1
        found.append((match.end(), math.exp(sums[at])))
    return found


def _closed_ends(text: str) -> set[int]:
    """Each length at which the beginning of a text has closed all brackets and quotes that it opens."""
    awaited: list[str] = []
    found, at = {0}, 0
    while at < len(text):
        character = text[at]
        if awaited and awaited[-1] in "'\"`":
            at += character == "\\"
            if character == awaited[-1]:
                awaited.pop()
        elif _QUOTE.match(text, at):
            awaited.append(character)
        elif character in PAIRS:
            awaited.append(PAIRS[character])
        elif awaited and character == awaited[-1]:
            awaited.pop()
        at += 1
        if not awaited:
            found.add(at)
    return found
