"""Defines the lines of a file of details: the suggestion at each held-out hole, as JSON.

`heldout` writes these files; `figures` and `verbatim` read them.
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
    """Records cannot be read; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Record:
    """One hole and the suggestion for it: a line of the details.

    ``shown``: the suggestion before any threshold. ``refused``: why an automatic request would get no suggestion here.
    ``offer``: the model's whole text, None if the model was not asked. ``behind``: the rest of the cursor's line.
    ``fresh``: whether only whitespace precedes the cursor in its line.
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
        """The file of the hole; records of the same file are not independent."""
        return self.package, self.path

    @property
    def hole_id(self) -> tuple[str, str, str, int]:
        """The identity of the hole, which is the same for two models."""
        return self.package, self.path, self.kind, self.start

    @property
    def likelihood(self) -> float:
        """The likelihood, as the server computes it."""
        return likelihood(self.confidence, self.tokens)

    def automatic(self, least: float) -> Record | None:
        """Return the record with the part that a server shows automatically; None if it shows nothing.

        least: the server's `show_likelihood`. A part that is right as far as it goes counts as a right first line, and
        saves its keys minus one for each line.
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
        """Create a record from JSON values. Raises `TypeError`, `KeyError` and `ValueError`."""
        if values["shown"] is not None and values.get("offer") is None:
            raise ValueError("it has no offers, like files of earlier versions")
        offer = None if values.get("offer") is None else Offer.read(values["offer"])
        return cls(**{**values, "offer": offer})

    def line(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read(file: Path) -> list[Record]:
    """Read the records of a file of details. Raises `DetailsError`."""
    try:
        with file.open(encoding="utf-8") as lines:
            return [Record.read(json.loads(line)) for line in lines]
    except OSError as error:
        raise DetailsError(f"{file} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DetailsError(f"{file} was not written by model.evaluation.heldout.heldout: {error}") from error
