"""Computes the debounce of a request from the user's typing speed and the model's latency.

A request waits only if its answer would arrive after the next key, and then no longer than until the user has probably
paused. The caller passes the time. With prefetches (the option `anticipate`) a debounce would save nothing, because the
work starts at the change, and would only delay the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# A request that would have to wait longer does not wait at all.
MAX_WAIT_SECONDS = 0.15
# A change after a pause of at least `PAUSE_SECONDS` seconds begins a new burst of typing.
PAUSE_SECONDS = 1.0
# The weight of a new value in an exponential average, whose half-life is three keys.
SMOOTHING_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Debounce:
    """The user's typing speed and the model's latency, in seconds; None where nothing is known yet.

    `last`: the time of the last change. `gap`, `spread` and `latency` are exponential averages: of the time between
    two changes while the user types, of its absolute deviation, and of the time of the model's answers.
    """

    last: float | None = None
    gap: float | None = None
    spread: float = 0.0
    latency: float | None = None

    def after_change(self, now: float) -> Debounce:
        """Return the state after a change at a time. The time of a pause does not count as a gap."""
        between = PAUSE_SECONDS if self.last is None else now - self.last
        if between >= PAUSE_SECONDS:
            return replace(self, last=now)
        if self.gap is None:
            return replace(self, last=now, gap=between)
        spread = _smooth(self.spread, abs(between - self.gap))
        return replace(self, last=now, gap=_smooth(self.gap, between), spread=spread)

    def after_answer(self, seconds: float) -> Debounce:
        """Return the state after an answer of the model that took `seconds`."""
        return replace(self, latency=seconds if self.latency is None else _smooth(self.latency, seconds))

    def wait_seconds(self, now: float) -> float:
        """Return the seconds that a request at the time `now` waits before the model is asked.

        That is 0 if the answer is expected before the next key. Otherwise the request waits until that key is overdue,
        which is before the answer could arrive: a wait is never longer than the work that it may save.
        """
        if self.last is None or self.gap is None or self.latency is None:
            return 0.0
        overdue = self.gap + 2 * self.spread
        if self.latency <= overdue:
            return 0.0
        due = self.last + overdue - now
        # A shorter wait would end before the next key and save nothing.
        return due if 0 < due <= MAX_WAIT_SECONDS else 0.0


def _smooth(average: float, value: float) -> float:
    return average + SMOOTHING_WEIGHT * (value - average)
