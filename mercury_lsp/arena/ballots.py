"""Ballots: what was chosen of two answers at a place, and the file that keeps the user's own.

Owns the form of a record and its file, beside the history, where only the user may read it. A line is written at once,
by one write, and whole: nothing of what was chosen before is lost, however a session ends. It has names of contestants
and of a language, counts and times, and a hash in place of the place; never code, a path or a file's name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mercury_lsp.telemetry import store

CHOICES = ("1", "2", "tie", "neither", "skip", "same")
"""The first shown, the second, as good as each other, neither any good, no opinion; and alike, so nothing to choose."""
SCORES = {"1": 1.0, "2": 0.0, "tie": 0.5, "neither": 0.5, "same": 0.5}
"""What the first one wins. With no opinion there is no result."""
JUDGES = ("user", "truth")


class Unreadable(Exception):
    """The file cannot be read or written; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two contestants at a place, by its id: see `contestants`. `exact` and `share`: see `verdicts.Worth`."""

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
    """One choice. `moment`: seconds since 1970; `place`: an edit's key; `one` was shown first."""

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
        """Who met."""
        return frozenset((self.one.id, self.two.id))


def file() -> Path:
    """Where the user's ballots are kept; it may not exist."""
    return store.state_file().with_name("arena.jsonl")


def keep(ballot: Ballot) -> None:
    """Write a ballot to the file. Raises `Unreadable`."""
    path = file()
    line = json.dumps(asdict(ballot)).encode() + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unreadable(f"Your choice cannot be kept in {path}: {error.strerror}.") from error


def kept() -> tuple[list[Ballot], int]:
    """All ballots of the file, and how many of its lines are damaged. Raises `Unreadable`."""
    try:
        lines = file().read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise Unreadable(f"The choices in {file()} cannot be read: {error.strerror}.") from error
    ballots = [ballot for line in lines if (ballot := _read(line)) is not None]
    return ballots, len(lines) - len(ballots)


def clear() -> int:
    """Delete the file; returns how many ballots were in it. Raises `Unreadable`."""
    count = len(kept()[0])
    try:
        file().unlink(missing_ok=True)
    except OSError as error:
        raise Unreadable(f"The choices in {file()} cannot be deleted: {error.strerror}.") from error
    return count


def seen(ballots: Sequence[Ballot], pair: frozenset[str]) -> set[str]:
    """The places at which a pair has met."""
    return {ballot.place for ballot in ballots if ballot.pair == pair}


def _read(line: str) -> Ballot | None:
    """None where it is not what we wrote."""
    try:
        values = json.loads(line)
        one, two = (Side(**values.pop(name)) for name in ("one", "two"))
        ballot = Ballot(one=one, two=two, **values)
        typed = isinstance(ballot.place, str) and isinstance(ballot.one.ms, (int, float))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return ballot if typed and ballot.choice in CHOICES else None
