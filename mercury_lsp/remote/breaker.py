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
    """The breaker of one server. `failures`: consecutive failures; ``now``: seconds of the caller's clock."""

    failures: int = 0
    _open_until: float = 0.0

    def state(self, now: float) -> BreakerState:
        """Return the state at a time."""
        if now < self._open_until:
            return "open"
        return "half-open" if self.failures >= FAILURES_BEFORE_PAUSE else "closed"

    def pause_left(self, now: float) -> float:
        """Return the seconds until the next request is allowed."""
        return max(0.0, self._open_until - now)

    def record_success(self) -> None:
        """Note a successful answer."""
        self.failures, self._open_until = 0, 0.0

    def record_failure(self, now: float, requested_pause: float = 0.0) -> None:
        """Note a failure. ``requested_pause``: the pause in seconds that the server asked for."""
        self.failures += 1
        pause = 0.0
        if self.failures >= FAILURES_BEFORE_PAUSE:
            pause = min(
                MAX_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** min(10, self.failures - FAILURES_BEFORE_PAUSE)
            )
        self._open_until = now + max(pause, min(requested_pause, MAX_PAUSE_SECONDS))


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """The status of a hosted model.

    ``host``: the host that receives the text. ``breaker``: whether requests are sent now. ``last_error``: the reason of
    the last failure as a sentence, or "".
    """

    host: str
    breaker: BreakerState = "closed"
    last_error: str = ""


class RemoteBacked(ABC):
    """An engine that asks a hosted model, always or in some cases."""

    @property
    @abstractmethod
    def remote_status(self) -> RemoteStatus:
        """The status; may be read from any thread."""
