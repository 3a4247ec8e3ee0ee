"""Records choices between two answers in a file that only the user may read.

Each line is written at once by one write, so that earlier choices survive any end of a session. A record has names of
contestants and of a language, counts, times and a hash of the place; never code, a path or a file name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mercury_lsp.telemetry import store

CHOICES = ("1", "2", "tie", "neither", "skip", "same")
"""The first one is better, the second is better, both are equally good, both are bad, no opinion; both look alike."""
SCORES = {"1": 1.0, "2": 0.0, "tie": 0.5, "neither": 0.5, "same": 0.5}
"""The score of the first one; without an opinion there is none."""
JUDGES = ("user", "truth")


class BallotsError(Exception):
    """The file of ballots cannot be read or written; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two contestants at a place. `id`: see `contestants`; `exact`, `share`: see `verdicts.Worth`."""

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
    """One choice. `moment`: seconds since 1970; `place`: an edit's key; `one`: the contestant shown first."""

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
    """The file of the user's ballots; it may not exist."""
    return store.state_file().with_name("arena.jsonl")


def append_ballot(ballot: Ballot) -> None:
    """Append a ballot to the file. Raises `BallotsError`."""
    path = ballots_file()
    line = json.dumps(asdict(ballot)).encode() + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BallotsError(f"Your choice cannot be kept in {path}: {error.strerror}.") from error


def read_ballots() -> tuple[list[Ballot], int]:
    """All ballots of the file, and the number of its damaged lines. Raises `BallotsError`."""
    try:
        lines = ballots_file().read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise BallotsError(f"The choices in {ballots_file()} cannot be read: {error.strerror}.") from error
    ballots = [ballot for line in lines if (ballot := _parse_ballot(line)) is not None]
    return ballots, len(lines) - len(ballots)


def delete_ballots() -> int:
    """Delete the file; returns the number of its ballots. Raises `BallotsError`."""
    count = len(read_ballots()[0])
    try:
        ballots_file().unlink(missing_ok=True)
    except OSError as error:
        raise BallotsError(f"The choices in {ballots_file()} cannot be deleted: {error.strerror}.") from error
    return count


def places_met(ballots: Sequence[Ballot], pair: frozenset[str]) -> set[str]:
    """The places at which a pair has met."""
    return {ballot.place for ballot in ballots if ballot.pair == pair}


def _parse_ballot(line: str) -> Ballot | None:
    """The ballot of a line; None if the line is damaged."""
    try:
        values = json.loads(line)
        one, two = (Side(**values.pop(name)) for name in ("one", "two"))
        ballot = Ballot(one=one, two=two, **values)
        typed = isinstance(ballot.place, str) and isinstance(ballot.one.ms, (int, float))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return ballot if typed and ballot.choice in CHOICES else None
