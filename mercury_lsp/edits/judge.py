"""Judges a candidate by the model: how much likelier its lines are with the edit than without.

Both likelihoods are exact and have the same context: the text above and below the lines, and the lines of the newest
edit if that is further away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mercury_lsp.context import prompt
from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.search import Candidate, Kind
from mercury_lsp.engine.api import never_cancelled
from mercury_lsp.engine.tokenizer import Snippet
from mercury_lsp.syntax.document import Document, plain

if TYPE_CHECKING:
    from mercury_lsp.engine.local_engine import LocalEngine

PREFIX_TOKENS, FOLLOWING_TOKENS = 128, 64
# A candidate with more lines is not judged, and not suggested if its kind needs a judge.
MAX_JUDGED_LINES = 4
# The newest edit is added to the prompt as a snippet if it is further away.
NEAR_LINES = 12
MIN_GAIN: Mapping[Kind, float] = {
    "import": -13.0,
    "rename": -10.0,
    "delete": -5.0,
    "modifier": -5.0,
    "replace": -2.0,
    "line": -1.9,
    "argument": 0.0,
    "insert": 0.0,
}
"""The least gain in nats of each kind that needs a judge.

Chosen from the gains that `python -m model.evaluation.edits --part tune --gains FILE` writes. For renames of resolved
names the gain separates right from wrong no better than chance.
"""


def gain(
    document: Document,
    candidate: Candidate,
    edits: Sequence[Edit],
    engine: LocalEngine,
    cancelled: Callable[[], bool] = never_cancelled,
) -> float | None:
    """Return the gain of log-likelihood by a candidate in nats; None if it has too many lines. Raises `Cancelled`."""
    # Imports numpy.
    from mercury_lsp.engine.likelihood import log_likelihoods

    text = document.text
    first, _ = document.position(candidate.start)
    last, _ = document.position(candidate.end)
    if last - first >= MAX_JUDGED_LINES or candidate.text.count("\n") >= MAX_JUDGED_LINES:
        return None
    low, high = document.span(first)[0], document.span(last)[1]
    beside = []
    if edits and abs(document.position(edits[-1].start)[0] - first) > NEAR_LINES:
        begin, _ = document.position(edits[-1].start)
        end, _ = document.position(edits[-1].end)
        lines = text[
            document.span(max(0, begin - 2))[0] : document.span(min(end + 2, document.line_count - 1))[1]
        ]
        beside = [Snippet(document.path, plain(lines))]
    asked = prompt.build(
        document.path,
        text[:low],
        text[high:],
        engine.count,
        PREFIX_TOKENS,
        FOLLOWING_TOKENS,
        stem_start=engine.stem_start,
    )
    old, new = text[low:high], text[low : candidate.start] + candidate.text + text[candidate.end : high]
    likelihoods = log_likelihoods(
        engine, replace(asked, related=tuple(beside)), (plain(old), plain(new)), cancelled
    )
    return likelihoods[1] - likelihoods[0]


def pick_candidate(
    document: Document,
    candidates: Sequence[Candidate],
    edits: Sequence[Edit],
    engine: LocalEngine | None,
    cancelled: Callable[[], bool] = never_cancelled,
    min_gains: Mapping[Kind, float] = MIN_GAIN,
) -> Candidate | None:
    """Return the first candidate that needs no judge or has enough gain; None without any. Raises `Cancelled`.

    Without a model, candidates that need a judge are skipped.
    """
    for candidate in candidates:
        if candidate.kind not in min_gains:
            return candidate
        if engine is not None:
            gained = gain(document, candidate, edits, engine, cancelled)
            if gained is not None and gained >= min_gains[candidate.kind]:
                return candidate
    return None
