"""Computes 95% percentile bootstrap intervals, from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

RESAMPLES = 2000

T = TypeVar("T")


def interval(values: Sequence[T], statistic: Callable[[Sequence[T]], float], seed: int = 0) -> list[float]:
    """Return the 2.5th and 97.5th percentile of a statistic over samples of the values, drawn with replacement."""
    random = Random(seed)
    drawn = sorted(statistic(random.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return [round(drawn[int(RESAMPLES * share)], 4) for share in (0.025, 0.975)]


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the sum of the first numbers divided by the sum of the second numbers."""
    return sum(a for a, _ in pairs) / (sum(b for _, b in pairs) or 1)
