"""What was suggested at each held-out hole: the lines of a file of details.

Owns the record and its form as JSON. `heldout` writes them; `calibrate` and `verbatim` read them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mercury_lsp.complete import likelihood


class DetailsError(Exception):
    """There are no records to be had; one clear sentence."""


@dataclass(frozen=True, slots=True)
class Record:
    """One hole and what was suggested for it: a line of the details.

    ``shown`` is before any threshold, ``refused`` why nothing would be suggested there to who did not ask.
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

    def line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read(file: Path) -> list[Record]:
    """The records of a file of details. Raises `DetailsError`."""
    try:
        with file.open(encoding="utf-8") as lines:
            return [Record(**json.loads(line)) for line in lines]
    except OSError as error:
        raise DetailsError(f"{file} cannot be read: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise DetailsError(f"{file} was not written by model.heldout: {error}") from error
