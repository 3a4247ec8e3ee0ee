"""Pauses requests to a server that fails again and again (a circuit breaker).

Closed, it allows all requests; open, none until the pause is over; half open, the next request decides. Source: M. T.
Nygard, Release It! (Pragmatic Bookshelf, 2007). This module imports no HTTP client.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

# The time for a request with all its retries: after it the user has typed on, and an answer would not be shown.
ANSWER_SECONDS = 2.0
# The number of consecutive failures that opens the breaker.
FAILURES_BEFORE_PAUSE = 4
# The first pause; each further failure doubles it.
PAUSE_SECONDS = 15.0
MAX_PAUSE_SECONDS = 240.0

BreakerState = Literal["closed", "open", "half-open"]


@dataclass(slots=True)
class Breaker:
    """The breaker of one server. `failed`: consecutive failures; ``now``: seconds of the caller's clock."""

    failed: int = 0
    _until: float = 0.0

    def state(self, now: float) -> BreakerState:
        """Return the state at a time."""
        if now < self._until:
            return "open"
        return "half-open" if self.failed >= FAILURES_BEFORE_PAUSE else "closed"

    def left(self, now: float) -> float:
        """Return the seconds until the next request is allowed."""
        return max(0.0, self._until - now)

    def succeeded(self) -> None:
        """Note a successful answer."""
        self.failed, self._until = 0, 0.0

    def failure(self, now: float, wish: float = 0.0) -> None:
        """Note a failure. ``wish``: the pause in seconds that the server asked for."""
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

    ``host``: the host that receives the text. ``breaker``: whether requests are sent now. ``trouble``: the reason of
    the last failure as a sentence, or "".
    """

    host: str
    breaker: BreakerState = "closed"
    trouble: str = ""


class RemoteBacked(ABC):
    """An engine that asks a hosted model, always or in some cases."""

    @property
    @abstractmethod
    def remote_status(self) -> RemoteStatus:
        """The status; may be read from any thread."""
