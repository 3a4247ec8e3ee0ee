"""Pauses requests to a server that fails again and again (a circuit breaker).

Closed, it allows all requests; open, none until the pause is over; half open, the next request decides. Source: M. T.
Nygard, Release It! (Pragmatic Bookshelf, 2007). This module imports no HTTP client.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

# For a request with all its tries: by then the user has typed on, and a later answer is shown to nobody.
ANSWER_SECONDS = 2.0
# So many failures in a row open the breaker.
FAILURES_BEFORE_PAUSE = 4
# The first pause; each further failure doubles it.
PAUSE_SECONDS = 15.0
MAX_PAUSE_SECONDS = 240.0

BreakerState = Literal["closed", "open", "half-open"]


@dataclass(slots=True)
class Breaker:
    """The breaker of one server. `failed`: failures in a row; ``now``: seconds of the caller's clock."""

    failed: int = 0
    _until: float = 0.0

    def state(self, now: float) -> BreakerState:
        """The state at a time."""
        if now < self._until:
            return "open"
        return "half-open" if self.failed >= FAILURES_BEFORE_PAUSE else "closed"

    def left(self, now: float) -> float:
        """Seconds until the next request is allowed."""
        return max(0.0, self._until - now)

    def succeeded(self) -> None:
        """Note an answer."""
        self.failed, self._until = 0, 0.0

    def failure(self, now: float, wish: float = 0.0) -> None:
        """Note a failure. wish: the pause in seconds that the server asked for."""
        self.failed += 1
        pause = 0.0
        if self.failed >= FAILURES_BEFORE_PAUSE:
            pause = min(
                MAX_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** min(10, self.failed - FAILURES_BEFORE_PAUSE)
            )
        self._until = now + max(pause, min(wish, MAX_PAUSE_SECONDS))


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """The status of a hosted model.

    ``host``: receives the text. ``breaker``: whether requests are sent now. ``trouble``: why the last request failed,
    as a sentence, or "".
    """

    host: str
    breaker: BreakerState = "closed"
    trouble: str = ""


class RemoteBacked(ABC):
    """An engine that asks a hosted model, always or sometimes."""

    @property
    @abstractmethod
    def remote_status(self) -> RemoteStatus:
        """The status; may be read from any thread."""
