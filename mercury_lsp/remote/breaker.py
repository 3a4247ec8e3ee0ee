"""A circuit breaker: a server that fails again and again is left alone for a while.

Owns the count of failures and the pause. Closed, all is asked; open, nothing is until the pause is over; then it is
half open, and the next request decides. After M. T. Nygard, Release It! (Pragmatic Bookshelf, 2007). The clock is
whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FAILURES = 4  # in a row, after which it opens
PAUSE = 15.0  # seconds that it stays open, twice as long after each further failure
LONGEST = 240.0  # seconds of a pause at most

State = Literal["closed", "open", "half-open"]


@dataclass(slots=True)
class Breaker:
    """Of one server. `failed` counts failures in a row."""

    failed: int = 0
    _until: float = 0.0

    def state(self, now: float) -> State:
        """What it lets through at a time."""
        if now < self._until:
            return "open"
        return "half-open" if self.failed >= FAILURES else "closed"

    def left(self, now: float) -> float:
        """Seconds until something may be asked again."""
        return max(0.0, self._until - now)

    def succeeded(self) -> None:
        """There was an answer."""
        self.failed, self._until = 0, 0.0

    def failure(self, now: float, wish: float = 0.0) -> None:
        """There was none. `wish`: seconds that the server wants to be left alone."""
        self.failed += 1
        pause = 0.0
        if self.failed >= FAILURES:
            pause = min(LONGEST, PAUSE * 2.0 ** min(10, self.failed - FAILURES))
        self._until = now + max(pause, min(wish, LONGEST))
