"""Replays a change edit by edit, and notes what is offered after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from mercury_lsp.edits.candidates import Candidate
from mercury_lsp.edits.history import DocumentEdits
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax
from model.evaluation.edits.changes import Change, Step, applied

Offers = Callable[[Syntax, DocumentEdits], Sequence[Candidate]]
"""What is offered for a document with its recent edits, the best first."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What was offered for the first time: whether it is the change's, and its place in the list."""

    kind: str
    right: bool
    rank: int
    line: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What happened after some steps of a change: `prior` earlier edits had the next one's key.

    `first`, `any`: whether the next edit was the first one offered, or any. `offered`: how many were.
    """

    prior: int
    first: bool
    any: bool
    offered: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """A change's moments, and all that was offered in it, each once."""

    source: str
    path: str
    language: str
    moments: tuple[Moment, ...]
    offers: tuple[Offer, ...]
    shown: tuple[Offer, ...]


def replay(change: Change, offers: Offers) -> Replayed:
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
        found = offers(syntax, edits)
        shift += len(step.after) - len(step.before)
        origin = _origin(done)
        matches = [_steps_of(one, change, rest, shift, text) for one in found]
        for rank, (one, steps) in enumerate(zip(found, matches, strict=True)):
            line, _ = syntax.document.position(one.start)
            place = (origin(one.start), text[one.start : one.end], one.text)
            offer = Offer(one.kind, bool(steps), rank, _drawn(syntax.document.line(line), one, text))
            known.setdefault(place, offer)
            if not rank:
                shown.setdefault(place, offer)
        prior = keys.count(rest[0].key) if rest[0].key is not None else 0
        hits = [rest[0] in steps for steps in matches]
        moments.append(Moment(prior, bool(hits) and hits[0], any(hits), len(found)))
    return Replayed(
        change.source, change.path, change.language, tuple(moments), tuple(known.values()), tuple(shown.values())
    )


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


def _steps_of(
    one: Candidate, change: Change, rest: Sequence[Step], shift: int, text: str
) -> tuple[Step, ...]:
    """The edits of the change, not made yet, that an offer makes; none if it makes anything else."""
    start, end = one.start - shift, one.end - shift
    if start < rest[0].start - len(rest[0].before) - 200:
        return ()
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
