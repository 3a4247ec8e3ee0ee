"""Records choices between two answers in a file that only the user may read.

Each record is written at once in a single write, so that earlier choices survive any end of a session. A record has the
names of the contestants and of a language, counts, times and a hash of the place; never code, a path or a file name.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from mercury_lsp.errors import Failure
from mercury_lsp.telemetry import store

CHOICES = ("1", "2", "tie", "neither", "skip", "same")
"""First answer better, second answer better, both equally good, both bad, no opinion, both look alike."""
SCORES = {"1": 1.0, "2": 0.0, "tie": 0.5, "neither": 0.5, "same": 0.5}
"""The score of the first contestant by choice; a skipped place has no score."""
JUDGES = ("user", "truth")


@dataclass(frozen=True, slots=True)
class Side:
    """One of two contestants at a place.

    `id`: see `contestants.Player.id`. `shown`, `likely`, `ms`: see `contestants.ContestantAnswer`. `exact`, `share`:
    see `matches.Agreement`.
    """

    id: str
    ms: float
    passes: int
    tokens: int
    shown: bool
    likely: bool
    exact: bool
    share: float


@dataclass(frozen=True, slots=True)
class Ballot:
    """A choice between two answers.

    `moment`: seconds since 1970. `place`: the key of an edit. `one`: the contestant whose answer is shown first.
    """

    moment: float
    judge: str
    place: str
    language: str
    kind: str
    one: Side
    two: Side
    choice: str

    @property
    def pair(self) -> frozenset[str]:
        """The ids of both contestants."""
        return frozenset((self.one.id, self.two.id))


def ballots_file() -> Path:
    """Return the file of the user's ballots, which may not exist."""
    return store.history_file().with_name("arena.jsonl")


def open_private(path: str, flags: int) -> int:
    """Open a file that only the user may read; an `opener` for `open`."""
    return os.open(path, flags, 0o600)


def append_ballot(ballot: Ballot) -> None:
    """Append a ballot to the file. Raises `Failure`."""
    path = ballots_file()
    line = json.dumps(asdict(ballot)).encode() + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "ab", buffering=0, opener=open_private) as file:
            file.write(line)
    except OSError as error:
        raise Failure(f"Your choice cannot be kept in {path}: {error.strerror}.") from error


def read_ballots() -> tuple[list[Ballot], int]:
    """Return all ballots of the file, and the number of its damaged lines. Raises `Failure`."""
    try:
        lines = ballots_file().read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise Failure(f"The choices in {ballots_file()} cannot be read: {error.strerror}.") from error
    ballots = [ballot for line in lines if (ballot := _parse_ballot(line)) is not None]
    return ballots, len(lines) - len(ballots)


def delete_ballots() -> int:
    """Delete the file and return the number of its ballots. Raises `Failure`."""
    count = len(read_ballots()[0])
    try:
        ballots_file().unlink(missing_ok=True)
    except OSError as error:
        raise Failure(f"The choices in {ballots_file()} cannot be deleted: {error.strerror}.") from error
    return count


def _parse_ballot(line: str) -> Ballot | None:
    """Parse the ballot of a line; return None if the line is damaged."""
    try:
        values = json.loads(line)
        one, two = (Side(**values.pop(name)) for name in ("one", "two"))
        ballot = Ballot(one=one, two=two, **values)
        is_valid = isinstance(ballot.place, str) and isinstance(ballot.one.ms, (int, float))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return ballot if is_valid and ballot.choice in CHOICES else None
