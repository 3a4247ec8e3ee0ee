"""Replays a change edit by edit, and notes what is offered after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from mercury_lsp.edits.candidates import USUAL, Candidate, Limits, candidates
from mercury_lsp.edits.history import DocumentEdits, Edit
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax
from model.evaluation.edits.changes import Change, Step, applied

PATIENCE_SECONDS = 5.0
"""No clock is to decide what is measured."""
Judge = Callable[[Document, Sequence[Candidate], Sequence[Edit]], Candidate | None]
"""Which of the candidates is shown, the best first."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What was offered: its kind, the edits it is drawn from, whether it is the change's, and its line."""

    kind: str
    support: int
    right: bool
    line: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What happened after some steps of a change: `prior` earlier edits had the next one's key.

    `first`: whether the next edit was shown; `any`: whether it was among the candidates; `shown`: whether anything was.
    """

    prior: int
    first: bool
    any: bool
    shown: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """A change's moments; what was among the candidates, and what was shown, each place and text once."""

    source: str
    path: str
    language: str
    moments: tuple[Moment, ...]
    candidates: tuple[Offer, ...]
    shown: tuple[Offer, ...]


def replay(change: Change, judge: Judge, limits: Limits = USUAL) -> Replayed:
    """Make the change's edits from its top to its end, looking at the offers after each but the last."""
    moments: list[Moment] = []
    known: dict[tuple[int, str, str], Offer] = {}
    shown: dict[tuple[int, str, str], Offer] = {}
    edits = DocumentEdits()
    keys: list[object] = []
    for count, step in enumerate(change.steps[:-1], start=1):
        done, rest = change.steps[:count], change.steps[count:]
        shift = sum(len(other.after) - len(other.before) for other in done[:-1])
        edits.change(step.start + shift, step.before, step.after)
        keys.append(step.key)
        text = applied(change.text, done)
        syntax = Syntax.of(Document("", change.path, change.language, count, text))
        found = candidates(syntax, edits.edits, limits=limits, seconds=PATIENCE_SECONDS)
        best = judge(syntax.document, found, edits.edits)
        shift += len(step.after) - len(step.before)
        origin = _origin(done)
        first = among = False
        for one in found:
            steps = steps_of(one, change, rest, shift)
            line, _ = syntax.document.position(one.start)
            place = (origin(one.start), text[one.start : one.end], one.text)
            offer = Offer(one.kind, one.support, bool(steps), _drawn(syntax.document.line(line), one, text))
            known.setdefault(place, offer)
            among |= rest[0] in steps
            if one is best:
                shown.setdefault(place, offer)
                first = rest[0] in steps
        prior = keys.count(rest[0].key) if rest[0].key is not None else 0
        moments.append(Moment(prior, first, among, best is not None))
    return Replayed(
        change.source, change.path, change.language, tuple(moments), tuple(known.values()), tuple(shown.values())
    )


def alone(change: Change, number: int, judge: Judge, limits: Limits = USUAL) -> Offer | None:
    """What is shown after one edit of a change, made alone in the old text."""
    step = change.steps[number]
    edits = DocumentEdits()
    edits.change(step.start, step.before, step.after)
    text = applied(change.text, (step,))
    syntax = Syntax.of(Document("", change.path, change.language, 1, text))
    found = candidates(syntax, edits.edits, limits=limits, seconds=PATIENCE_SECONDS)
    best = judge(syntax.document, found, edits.edits)
    if best is None:
        return None
    line, _ = syntax.document.position(best.start)
    return Offer(best.kind, best.support, False, _drawn(syntax.document.line(line), best, text))


def _origin(done: Sequence[Step]) -> Callable[[int], int]:
    """Where a place of the text was before some steps."""

    def origin(at: int) -> int:
        for step in done:
            # What is in a step's new text keeps its distance from the step's start.
            if at < step.start + len(step.after):
                return min(at, step.end) if at > step.start else at
            at -= len(step.after) - len(step.before)
        return at

    return origin


def steps_of(one: Candidate, change: Change, rest: Sequence[Step], shift: int) -> tuple[Step, ...]:
    """The edits of the change, not made yet, that an offer makes; none if it makes anything else."""
    start, end = one.start - shift, one.end - shift
    near = [step for step in rest if step.start <= end and start <= step.end][:6]
    if start < 0 or not near:
        return ()
    low, high = min(start, near[0].start), max(end, near[-1].end)
    offered = change.text[low:start] + one.text + change.text[end:high]
    for count in range(1, len(near) + 1):
        for chosen in combinations(near, count):
            pieces, at = [], low
            for step in chosen:
                pieces += [change.text[at : step.start], step.after]
                at = step.end
            if "".join([*pieces, change.text[at:high]]) == offered:
                return chosen
    return ()


def _drawn(line: str, one: Candidate, text: str) -> str:
    return f"{line.strip()[:90]} | {text[one.start : one.end]!r} -> {one.text!r}"[:200]
