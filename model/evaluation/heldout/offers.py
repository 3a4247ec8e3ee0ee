"""Keeps what a model wrote at a place, and what of it fits: enough to replay what a server would show.

Owns the value and its making. What is shown is `cutoff.worth_showing`'s choice, by any threshold and calibration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mercury_lsp.completion.committed import Committed, likelihood
from mercury_lsp.completion.fitting.cutoff import worth_showing
from mercury_lsp.completion.pipeline import Job, Kept, complete
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.engine.api import Engine, Infill, ScoredToken
from model.evaluation.calibration.odds import IDENTITY, Calibration, calibrated


@dataclass(frozen=True, slots=True)
class Fit:
    """What fits of a text's first ``end`` characters, in place of the next ``replaced`` characters after the cursor."""

    end: int
    shown: str
    replaced: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A text with its ``scored`` tokens: (end in characters, log-probability) each.

    ``fits``: what fits of the whole text, and of as many of its lines as end in it; ``likelihood``: of all that fits.
    """

    text: str
    finished: bool
    likelihood: float
    scored: tuple[tuple[int, float], ...]
    fits: tuple[Fit, ...]

    @classmethod
    def of(cls, committed: Committed) -> Offer:
        """What the model has written, with the document's line endings as one character."""
        infill, eol = committed.infill, committed.snapshot.document.eol
        ends = [i for i, character in enumerate(infill.text) if character == "\n" and infill.text[:i].strip()]
        found = [(end, committed.fitting(infill.until(end))) for end in (*ends, len(infill.text))]
        fits = [
            Fit(end, fit.shown.replace(eol, "\n"), fit.end - fit.start)
            for end, fit in found
            if fit is not None and fit.shown is not None
        ]
        whole = found[-1][1]
        return cls(
            text=infill.text,
            finished=infill.finished,
            likelihood=0.0 if whole is None else likelihood(whole.infill.confidence, whole.infill.tokens),
            scored=tuple((piece.end, round(piece.logp, 5)) for piece in infill.scored),
            fits=tuple(fits),
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Offer:
        """From the form that `asdict` and JSON give it. Raises `TypeError`, `KeyError` and `ValueError`."""
        scored = tuple((int(end), float(logp)) for end, logp in values["scored"])
        return cls(**{**values, "scored": scored, "fits": tuple(Fit(**fit) for fit in values["fits"])})

    @property
    def whole(self) -> Fit | None:
        """What fits of the whole text."""
        return next((fit for fit in self.fits if fit.end == len(self.text)), None)

    def shown(self, least: float, calibration: Calibration = IDENTITY) -> Fit | None:
        """What a server shows of it unasked, with ``least`` as its `show_likelihood`; None where that is nothing."""
        whole = self.whole
        if whole is None or not least:
            return whole
        infill = self._infill()
        if calibration != IDENTITY:
            scored = (
                ScoredToken(own.end, math.log(calibrated(own.logp, calibration))) for own in infill.scored
            )
            infill = replace(infill, scored=tuple(scored))

        def fitting(part: Infill) -> Completion | None:
            return next((self._completion(fit) for fit in self.fits if fit.end == len(part.text)), None)

        part = worth_showing(infill, self._completion(whole), fitting, least)
        return None if part is None else Fit(len(part.infill.text), part.shown or "", part.end)

    def _completion(self, fit: Fit) -> Completion:
        return Completion(self.text, fit.shown, 0, fit.replaced, self._infill().until(fit.end))

    def _infill(self) -> Infill:
        pieces = tuple(ScoredToken(*piece) for piece in self.scored)
        mean = math.exp(sum(piece.logp for piece in pieces) / len(pieces)) if pieces else 1.0
        return Infill(self.text, len(pieces), 0, 0, 0.0, 0.0, 0.0, 0, 0, mean, self.finished, scored=pieces)


def written(
    snapshot: Snapshot, offset: int, engine: Engine, kept: Kept | None = None
) -> tuple[Completion | None, Committed | None]:
    """A completion, and what the model wrote for it; None where it was not asked. No clock decides what is found."""
    told: list[Committed] = []

    def judge(committed: Committed) -> Completion:
        told.append(committed)
        return committed.judged()

    found = complete(snapshot, offset, engine, Job(kept=kept, judge=judge, patience=math.inf))
    return found, told[0] if told else None
