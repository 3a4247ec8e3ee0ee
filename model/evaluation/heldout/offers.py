"""Records the model's text at a place and its fitting parts, so that a server's suggestion can be replayed.

`cutoff.choose_cut` chooses the part to show, for any threshold and calibration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mercury_lsp.completion.committed import CommittedText, likelihood
from mercury_lsp.completion.fitting.cutoff import choose_cut
from mercury_lsp.completion.pipeline import Job, PipelineCache, complete
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.engine.api import Engine, Infill, ScoredToken
from model.evaluation.calibration.odds import IDENTITY, Calibration, calibrated_probability


@dataclass(frozen=True, slots=True)
class Fit:
    """The fitting part of a text's first ``end`` characters; replaces ``replaced`` characters after the cursor."""

    end: int
    shown: str
    replaced: int


@dataclass(frozen=True, slots=True)
class Offer:
    """The model's text at a place.

    ``scored``: the end in characters and the log-probability of each token. ``fits``: the fitting part of each prefix
    of whole lines, and of the whole text. ``likelihood``: that of the whole fitting text.
    """

    text: str
    finished: bool
    likelihood: float
    scored: tuple[tuple[int, float], ...]
    fits: tuple[Fit, ...]

    @classmethod
    def of(cls, committed: CommittedText) -> Offer:
        """Create an offer from the model's text, with each line ending as one character."""
        infill, eol = committed.infill, committed.snapshot.document.eol
        ends = [i for i, character in enumerate(infill.text) if character == "\n" and infill.text[:i].strip()]
        found = [(end, committed.fit(infill.cut_at(end))) for end in (*ends, len(infill.text))]
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
        """Create an offer from the output of `asdict` and JSON. Raises `TypeError`, `KeyError` and `ValueError`."""
        scored = tuple((int(end), float(logp)) for end, logp in values["scored"])
        return cls(**{**values, "scored": scored, "fits": tuple(Fit(**fit) for fit in values["fits"])})

    @property
    def whole(self) -> Fit | None:
        """The fitting part of the whole text, or None."""
        return next((fit for fit in self.fits if fit.end == len(self.text)), None)

    def shown(self, least: float, calibration: Calibration = IDENTITY) -> Fit | None:
        """Return the part that a server shows automatically, with ``least`` as its `show_likelihood`, or None."""
        whole = self.whole
        if whole is None or not least:
            return whole
        infill = self._infill()
        if calibration != IDENTITY:
            scored = (
                ScoredToken(own.end, math.log(calibrated_probability(own.logp, calibration)))
                for own in infill.scored
            )
            infill = replace(infill, scored=tuple(scored))

        def fitting(part: Infill) -> Completion | None:
            return next((self._completion(fit) for fit in self.fits if fit.end == len(part.text)), None)

        part = choose_cut(infill, self._completion(whole), fitting, least)
        return None if part is None else Fit(len(part.infill.text), part.shown or "", part.end)

    def _completion(self, fit: Fit) -> Completion:
        return Completion(self.text, fit.shown, 0, fit.replaced, self._infill().cut_at(fit.end))

    def _infill(self) -> Infill:
        pieces = tuple(ScoredToken(*piece) for piece in self.scored)
        mean = math.exp(sum(piece.logp for piece in pieces) / len(pieces)) if pieces else 1.0
        return Infill(self.text, len(pieces), 0, 0, 0.0, 0.0, 0.0, 0, 0, mean, self.finished, scored=pieces)


def written(
    snapshot: Snapshot, offset: int, engine: Engine, kept: PipelineCache | None = None
) -> tuple[Completion | None, CommittedText | None]:
    """Return a completion, and the model's committed text, None if the model was not asked. There is no deadline."""
    told: list[CommittedText] = []

    def judge(committed: CommittedText) -> Completion:
        told.append(committed)
        return committed.judge()

    found = complete(snapshot, offset, engine, Job(cache=kept, judge=judge, search_seconds=math.inf))
    return found, told[0] if told else None
