r"""Chooses how much of a text is shown automatically: as much as has the highest expected gain.

Assume that ``k`` words are shown, of which the first ``j`` are right. The user accepts all words with one key if all
are right, or else the right ones word by word with a key each, and has looked in vain if the first word is wrong. Let
``P_j`` be the probability that the first ``j`` words are right, ``L_j`` the number of their characters, ``c`` the cost
of looking in vain, and ``r`` the cost of reading a wrong word, both in keys. The gain of showing ``k`` words is, in
keys,

    G(k) = P_k (L_k - 1) + sum over j < k of (P_j - P_(j+1)) max(0, L_j - j)
           - c (1 - P_1) - r sum over j <= k of (1 - P_j)

so that an unlikely rest is cut off, and lines are added as long as they are likely enough to be right together with
the lines before them. Nothing is shown if no ``k`` has a positive gain.

``c`` follows from the option `show_likelihood`: a word that saves `TYPICAL_KEYS` breaks even at that probability. The
model's probabilities are used unchanged, because they are calibrated: the expected calibration error is 0.025 to 0.039
on two halves of the held-out projects. Offset and slope of their log-odds (0.441, 0.869), fitted on one half, made the
error on the other half worse (0.034 instead of 0.025). These values are of the model ``small`` and of 129 lines of 14
held-out projects, by ``python -m model.evaluation.calibration.calibrate --record keystrokes.jsonl --per-language 40
--minutes 13``. The default of `show_likelihood`, 0.5, was chosen on all these lines: at 0.2 suggestions save 53.9% of
the keys and 30% of them are wrong from the first word; at 0.5, 52.1% and 22%; at 0.7, 49.9% and 14%.

The model of acceptance follows the editors' commands, which accept all or the next word. Showing by expected utility:
Horvitz 1999; for code completion, Mozannar et al. 2024.
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
"""The keys that a right first word of 6 characters saves; it breaks even at the probability `show_likelihood`."""

READING_KEYS = 0.25
"""The cost of reading a wrong word, in keys."""

MAX_TRIES = 4
"""The number of beginnings of a text that are fitted again, and of those that are parsed; each takes milliseconds."""

_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+\Z")
# An apostrophe within a word is no quote.
_QUOTE = re.compile(r"(?<!\w)['\"`]|(?<=\w)[\"`]")


@dataclass(frozen=True, slots=True)
class Cut:
    """The first ``end`` characters of a text, and the expected gain of showing them, in keys."""

    end: int
    gain: float


def rank_cuts(text: str, pieces: Sequence[ScoredToken], show_likelihood: float) -> list[Cut]:
    """Return the beginnings of a text that are worth showing, the best first.

    ``pieces`` are the scored tokens of the text, see `Infill`. Without any, because the model returns no
    probabilities, the result is the whole text. Within a line a text is not cut between brackets or quotes that it
    opens itself, so that an acceptance leaves none open. On 129 recorded held-out lines that costs 0.8 percentage
    points of the keys saved.
    """
    if not pieces:
        return [Cut(len(text), 1.0)]
    cost = TYPICAL_KEYS * show_likelihood / max(1e-9, 1 - show_likelihood) - READING_KEYS
    found, accepted, reading_cost = [], 0.0, 0.0
    probabilities, closed_ends = word_probabilities(text, pieces), _closed_ends(text)
    for k, (end, probability) in enumerate(probabilities, 1):
        reading_cost += READING_KEYS * (1 - probability)
        gain = probability * (end - 1) + accepted - cost * (1 - probabilities[0][1]) - reading_cost
        if gain > 0 and (text[end : end + 1] in ("", "\n") or end in closed_ends):
            found.append(Cut(end, gain))
        following = probabilities[k][1] if k < len(probabilities) else 0.0
        accepted += (probability - following) * max(0, end - k)
    return sorted(found, key=lambda cut: (-cut.gain, cut.end))


def choose_cut(
    infill: Infill,
    completion: Completion,
    fit: Callable[[Infill], Completion | None],
    show_likelihood: float,
    eol: str = "\n",
    rest: str = "",
    is_sound: Callable[[str], bool] = lambda text: True,
) -> Completion | None:
    """Return the beginning of a fitting text with the highest expected gain; None if none has a positive gain.

    ``completion`` has all of the text that fits. ``fit`` fits a beginning of the infill again. ``show_likelihood`` is
    the option, above 0. ``eol`` is the document's line ending. ``rest`` is the text after the cursor in its line, which
    may need a line of its own and no comma before it. ``is_sound`` returns whether a beginning adds no syntax error to
    the document; at most `MAX_TRIES` beginnings are parsed.
    """
    shown = (completion.shown or "").replace(eol, "\n")
    common = len(commonprefix([shown, infill.text]))
    text = shown if common == len(shown) else infill.text
    refitted = parsed = 0
    for cut in rank_cuts(text, infill.scored, show_likelihood):
        if cut.end >= min(len(shown.rstrip()), len(text)):
            return completion
        if completion.end > completion.start or not text[: cut.end].strip():
            continue
        beginning = infill.cut_at(cut.end)
        if text[cut.end] == "\n" or (rest.strip() and refitted < MAX_TRIES):
            refitted += 1
            if (fits := fit(beginning)) is not None:
                return fits
        if cut.end <= common and not (rest.strip() and "\n" in shown[: cut.end]):
            parsed += 1
            if parsed > MAX_TRIES:
                return None
            if not is_sound(shown[: cut.end].replace("\n", eol)):
                continue
            return replace(completion, shown=shown[: cut.end].replace("\n", eol), infill=beginning)
    return None


def word_probabilities(text: str, pieces: Sequence[ScoredToken]) -> list[tuple[int, float]]:
    """Return the end of each word of a text, and the probability that the text up to there is right.

    That is the joint probability of the tokens that begin before the end. A word includes the whitespace before it.
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
    """Return the lengths of the beginnings of a text that close all brackets and quotes that they open."""
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
