"""Computes how long a request waits for further typing, from the speed of the user and of the model.

A request waits only if its answer would come too late to be seen before the next key, and then no longer than until
the user has probably paused. The caller passes the time. If work begins at the change itself (the option
`anticipate`), waiting saves nothing, because the work is under way already, and delays an answer that is there sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# A request that would wait longer does not wait at all.
MAX_WAIT_SECONDS = 0.15
PAUSE = 1.0  # seconds without a change, after which the next one begins a new burst of typing
WEIGHT = 0.2  # of what is new in an average, which so forgets a half in three keys


@dataclass(frozen=True, slots=True)
class Debounce:
    """Seconds, as exponential averages: `gap` between changes while typing, its mean deviation `spread`, and `latency`
    of the model's answers; None where nothing is known yet. `last`: the time of the last change."""

    last: float | None = None
    gap: float | None = None
    spread: float = 0.0
    latency: float | None = None

    def typed(self, now: float) -> Debounce:
        """After a change at a time. What comes after a pause tells nothing of how fast one types."""
        between = PAUSE if self.last is None else now - self.last
        if between >= PAUSE:
            return replace(self, last=now)
        if self.gap is None:
            return replace(self, last=now, gap=between)
        spread = _nearer(self.spread, abs(between - self.gap))
        return replace(self, last=now, gap=_nearer(self.gap, between), spread=spread)

    def answered(self, seconds: float) -> Debounce:
        """After an answer of the model that took so long."""
        return replace(self, latency=seconds if self.latency is None else _nearer(self.latency, seconds))

    def wait(self, now: float) -> float:
        """Seconds that a request should wait from a time on before the model is asked.

        None at all where the answer may be there before the next key. Else until that key is overdue: that is sooner
        than the answer would have been there, so no wait costs more than the work that a further key makes vain.
        """
        if self.last is None or self.gap is None or self.latency is None:
            return 0.0
        overdue = self.gap + 2 * self.spread
        if self.latency <= overdue:
            return 0.0
        due = self.last + overdue - now
        # A shorter wait than until then would end before that key, and spare nothing.
        return due if 0 < due <= MAX_WAIT_SECONDS else 0.0


def _nearer(average: float, value: float) -> float:
    return average + WEIGHT * (value - average)
