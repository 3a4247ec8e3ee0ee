"""Replays a change edit by edit, and records the offer after each edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from mercury_lsp.edits.candidates import find_candidates
from mercury_lsp.edits.history import DocumentEdits, Edit
from mercury_lsp.edits.search import DEFAULT_LIMITS, Candidate, Dismissals, Limits
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax
from model.evaluation.edits.changes import Change, Step, apply_steps

PATIENCE_SECONDS = 5.0
"""Long enough that the results do not depend on time."""
Judge = Callable[[Document, Sequence[Candidate], Sequence[Edit]], Candidate | None]
"""Takes a document, candidates, the best first, and earlier edits; returns the candidate to show, or None."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that was shown.

    ``support``: the number of edits it was derived from. ``right``: whether it makes only edits of the change.
    """

    kind: str
    support: int
    right: bool
    line: str


@dataclass(frozen=True, slots=True)
class Made:
    """An edit of a change that was made.

    `prior`: the number of earlier edits with the same key. `offered`: whether the edit was made by taking an offer.
    `candidate`: whether it was offered, or was among the candidates when it was made manually.
    """

    prior: int
    offered: bool
    candidate: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """A change that was made: its edits, except those of the first line, and all offers that were shown."""

    source: str
    path: str
    language: str
    made: tuple[Made, ...]
    shown: tuple[Offer, ...]


class Replay:
    """Makes a change line by line, and takes each offer that makes only edits of the change.

    If there is no offer, or a wrong one, the first line that is not done is edited manually; a wrong offer is
    dismissed.
    """

    def __init__(self, change: Change, judge: Judge, limits: Limits = DEFAULT_LIMITS) -> None:
        self._change, self._judge, self._limits = change, judge, limits
        self._edits = DocumentEdits()
        self._done: list[Step] = []
        self._dismissed = Dismissals()
        self._keys: Counter[object] = Counter()
        self.made: list[Made] = []
        self.shown: list[Offer] = []

    def run(self) -> Replayed:
        """Make the whole change."""
        rest = list(self._change.steps)
        among: tuple[Step, ...] = ()
        for line in self._change.lines:
            manual = [step for step in line if step in rest]
            if not manual:
                continue
            self._make(manual, False, among)
            rest = [step for step in rest if step not in manual]
            while rest:
                taken, among = self.offered(rest)
                if not taken:
                    break
                self._make(taken, True, taken)
                rest = [step for step in rest if step not in taken]
        first = self._change.lines[0]
        change = self._change
        return Replayed(
            change.source, change.path, change.language, tuple(self.made[len(first) :]), tuple(self.shown)
        )

    def _make(self, steps: Sequence[Step], offered: bool, among: Sequence[Step]) -> None:
        for step in steps:
            shift = sum(len(one.after) - len(one.before) for one in self._done if one.start < step.start)
            self._edits.change(step.start + shift, step.before, step.after)
            self._done.append(step)
            prior = self._keys[step.key] if step.key is not None else 0
            self.made.append(Made(prior, offered, step in among))
        self._keys.update(step.key for step in steps)

    def offered(self, rest: Sequence[Step]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """Return the edits that the offer makes, none if it is wrong; and the edits that any candidate makes."""
        text = apply_steps(self._change.text, tuple(self._done))
        syntax = Syntax.of(Document("", self._change.path, self._change.language, len(self._done), text))
        found = find_candidates(syntax, self._edits.edits, self._dismissed, self._limits, PATIENCE_SECONDS)
        best = self._judge(syntax.document, found, self._edits.edits)
        among = tuple({step for one in found for step in self._steps_of(one, rest)})
        if best is None:
            return (), among
        steps = self._steps_of(best, rest)
        line, _ = syntax.document.position(best.start)
        drawn = _drawn(syntax.document.line(line), best, text)
        self.shown.append(Offer(best.kind, best.support, bool(steps), drawn))
        if not steps:
            self._dismissed.add(best)
        return steps, among

    def _steps_of(self, one: Candidate, rest: Sequence[Step]) -> tuple[Step, ...]:
        """Return the remaining edits of the change that an offer makes; none if it makes any other edit."""
        old = self._change.text
        start, end = self._origin(one.start), self._origin(one.end)
        near = [step for step in rest if step.start <= end and start <= step.end][:6]
        if not near:
            return ()
        low, high = min(start, near[0].start), max(end, near[-1].end)
        if any(low < step.end and step.start < high for step in self._done):
            return ()
        offered = old[low:start] + one.text + old[end:high]
        for count in range(1, len(near) + 1):
            for chosen in combinations(near, count):
                pieces, at = [], low
                for step in chosen:
                    pieces += [old[at : step.start], step.after]
                    at = step.end
                if "".join([*pieces, old[at:high]]) == offered:
                    return chosen
        return ()

    def _origin(self, at: int) -> int:
        """Return the offset in the old text of an offset in the current text."""
        for step in sorted(self._done, key=lambda step: step.start):
            if at < step.start + len(step.after):
                return min(at, step.end) if at > step.start else at
            at -= len(step.after) - len(step.before)
        return at


def replay(change: Change, judge: Judge, limits: Limits = DEFAULT_LIMITS) -> Replayed:
    """Make a change, see `Replay`."""
    return Replay(change, judge, limits).run()


def alone(change: Change, number: int, judge: Judge, limits: Limits = DEFAULT_LIMITS) -> Offer | None:
    """Return the offer after the edits of only one line of a change are made in the old text."""
    made = Replay(change, judge, limits)
    made._make(change.lines[number], False, ())
    made.offered(())
    return made.shown[0] if made.shown else None


def _drawn(line: str, one: Candidate, text: str) -> str:
    return f"{line.strip()[:90]} | {text[one.start : one.end]!r} -> {one.text!r}"[:200]
