"""Models the times at which programmers press keys, for the load test and the queueing simulation.

The model is an assumption, not a recording: keys come in bursts, with log-normal gaps, and after a burst the programmer
pauses to read and think. All parameters can be set.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Typing:
    """The typing of one programmer.

    ``gap``: mean seconds between two keys of a burst. ``spread``: the gaps' standard deviation divided by their mean.
    ``burst``: mean keys until a pause. ``pause``: mean seconds of a pause, in addition to a gap.
    """

    gap: float = 0.2
    spread: float = 0.5
    burst: float = 20.0
    pause: float = 5.0

    @property
    def rate(self) -> float:
        """The keys per second, in the long run."""
        return 1 / (self.gap + self.pause / self.burst)

    def times(self, seconds: float, random: np.random.Generator) -> NDArray[np.float64]:
        """Draw the sorted times of keys from 0 to ``seconds``; the programmer started to type before 0."""
        began = -2 * (self.gap + self.pause)
        found: list[NDArray[np.float64]] = []
        while began < seconds:
            count = 64 + int(1.2 * (seconds - began) * self.rate)
            found.append(began + np.cumsum(self._gaps(count, random)))
            began = float(found[-1][-1])
        times = np.concatenate(found)
        return times[(times >= 0) & (times < seconds)]

    def _gaps(self, count: int, random: np.random.Generator) -> NDArray[np.float64]:
        sigma = math.sqrt(math.log1p(self.spread**2))
        gaps = random.lognormal(math.log(self.gap) - sigma**2 / 2, sigma, count)
        paused = random.random(count) < 1 / self.burst
        return gaps + np.where(paused, random.exponential(self.pause, count), 0.0)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `typing` reads."""
    group = parser.add_argument_group("how programmers type (assumptions)")
    usual = Typing()
    group.add_argument("--gap", type=float, default=usual.gap, help="seconds between keys (%(default)s)")
    group.add_argument("--spread", type=float, default=usual.spread, help="deviation over mean (%(default)s)")
    group.add_argument("--burst", type=float, default=usual.burst, help="keys until a pause (%(default)s)")
    group.add_argument("--pause", type=float, default=usual.pause, help="seconds of a pause (%(default)s)")


def typing(given: argparse.Namespace) -> Typing:
    """Return the typing model of the command line. Raises ``ValueError`` for impossible values."""
    found = Typing(given.gap, given.spread, given.burst, given.pause)
    if found.gap <= 0 or found.spread < 0 or found.burst < 1 or found.pause < 0:
        raise ValueError("A gap is above 0, a burst has one key or more, and nothing is below 0.")
    return found
