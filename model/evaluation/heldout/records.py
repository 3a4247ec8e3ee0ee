"""Defines the lines of a file of details: what was suggested at each held-out hole.

Owns the record and its form as JSON. `heldout` writes them; `figures` and `verbatim` read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mercury_lsp.completion.committed import likelihood
from model.evaluation.heldout.offers import Offer
from model.evaluation.heldout.verdict import judge, right_so_far, spared_so_far


class DetailsError(Exception):
    """There are no records to be had; one clear sentence."""


@dataclass(frozen=True, slots=True)
class Record:
    """One hole and what was suggested for it: a line of the details.

    ``shown`` is before any threshold, ``refused`` why nothing would be suggested there to who did not ask; ``offer``
    is all that was written, None where the model was not asked, ``behind`` the rest of the cursor's line, and ``fresh``
    says whether only blanks stand before the cursor in it.
    """

    model: str
    seed: int
    language: str
    package: str
    path: str
    kind: str
    start: int
    hole: str
    text: str
    shown: str | None
    one_line: bool
    finished: bool
    tokens: int
    passes: int
    confidence: float
    ms: float
    exact: bool
    first_line: bool
    ending: str
    keys: int
    spared: int
    spared_by_word: int
    refused: str | None = None
    offer: Offer | None = None
    behind: str = ""
    fresh: bool = False

    @property
    def file(self) -> tuple[str, str]:
        """What the hole was cut out of; records of one file are not independent."""
        return self.package, self.path

    @property
    def hole_id(self) -> tuple[str, str, str, int]:
        """What is the same for two models that were asked at the same hole."""
        return self.package, self.path, self.kind, self.start

    @property
    def likelihood(self) -> float:
        """As the server takes it."""
        return likelihood(self.confidence, self.tokens)

    def unasked(self, least: float) -> Record | None:
        """With what a server shows of it to who did not ask, ``least`` being its `show_likelihood`; None for nothing.

        What is right as far as it goes, though cut off, counts as a right first line, and spares its keys but one a
        line.
        """
        fit = None if self.offer is None else self.offer.shown(least)
        if fit is None or self.offer is None:
            return None
        replaced = self.behind[: fit.replaced]
        said = self.offer.text
        verdict = judge(self.hole, fit.shown, replaced, said, self.finished, self.one_line, self.fresh)
        so_far = spared_so_far(self.hole, fit.shown, replaced, self.fresh)
        return replace(
            self,
            shown=fit.shown,
            exact=verdict.exact,
            first_line=right_so_far(self.hole, fit.shown, replaced),
            spared=max(verdict.spared, so_far),
            spared_by_word=max(verdict.spared_by_word, so_far),
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Record:
        """From the form that JSON gives it. Raises `TypeError`, `KeyError` and `ValueError`."""
        if values["shown"] is not None and values.get("offer") is None:
            raise ValueError("it does not tell what is shown unasked, as those of earlier versions do not")
        offer = None if values.get("offer") is None else Offer.read(values["offer"])
        return cls(**{**values, "offer": offer})

    def line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read(file: Path) -> list[Record]:
    """The records of a file of details. Raises `DetailsError`."""
    try:
        with file.open(encoding="utf-8") as lines:
            return [Record.read(json.loads(line)) for line in lines]
    except OSError as error:
        raise DetailsError(f"{file} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DetailsError(f"{file} was not written by model.evaluation.heldout.heldout: {error}") from error
