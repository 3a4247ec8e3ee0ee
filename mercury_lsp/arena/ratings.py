"""Computes ratings and confidence intervals from paired comparisons, with the Bradley-Terry model.

In the model (Bradley and Terry, Biometrika 1952), i beats j with probability p_i / (p_i + p_j). It is fitted by maximum
likelihood with the iteration of Newman (JMLR 24, 2023), which has the same fixed point as Zermelo's and needs fewer
steps. A tie counts as half a win for each side. Davidson's model (JASA 1970) has a parameter for the frequency of ties,
which does not matter here, and half wins keep two contestants with mostly equal answers close to each other. Each pair
starts with `PRIOR_TIES` ties, so that ratings are finite even for a contestant that always won or met no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10, prod, sqrt
from random import Random

PRIOR_TIES = 1.0
# The first contestant's rating, and the points on Elo's scale for odds of ten to one.
ANCHOR_RATING, RATING_SCALE = 1000.0, 400.0
RESAMPLES = 1000
# The two-sided 95% quantile of the normal distribution.
Z_95 = 1.959964
# The relative change at which the iteration ends, and the limit on its steps.
_TOLERANCE, _MAX_STEPS = 1e-9, 10_000

Wins = Sequence[Sequence[float]]
"""Wins (n, n) of each contestant (row) over each other contestant (column); a tie counts as half a win."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of two contestants, by number. `score`: 1 if `one` won, 0 if it lost, 0.5 in a tie."""

    one: int
    two: int
    score: float


def count_wins(comparisons: Sequence[Comparison], n: int) -> list[list[float]]:
    """Count the comparisons of `n` contestants in a table, see `Wins`."""
    table = [[0.0] * n for _ in range(n)]
    for comparison in comparisons:
        table[comparison.one][comparison.two] += comparison.score
        table[comparison.two][comparison.one] += 1 - comparison.score
    return table


def fit_strengths(table: Wins, prior: float = PRIOR_TIES) -> list[float]:
    """Fit the strengths p (n,) with a geometric mean of 1 by maximum likelihood, given `prior` more ties per pair."""
    n = len(table)
    won = [[table[i][j] + prior / 2 if i != j else 0.0 for j in range(n)] for i in range(n)]
    p = [1.0] * n
    for _ in range(_MAX_STEPS):
        before = list(p)
        for i in range(n):
            others = [j for j in range(n) if j != i]
            gained = sum(won[i][j] * p[j] / (p[i] + p[j]) for j in others)
            lost = sum(won[j][i] / (p[i] + p[j]) for j in others)
            p[i] = gained / lost if gained and lost else p[i]
        mean = prod(strength ** (1 / n) for strength in p)
        p = [strength / mean for strength in p]
        if all(abs(now - then) <= _TOLERANCE * then for now, then in zip(p, before, strict=True)):
            break
    return p


def fit_ratings(table: Wins, prior: float = PRIOR_TIES) -> list[float]:
    """Return ratings (n,): the first is `ANCHOR_RATING`, and `RATING_SCALE` more points mean ten wins out of eleven."""
    p = fit_strengths(table, prior)
    return [ANCHOR_RATING + RATING_SCALE * log10(strength / p[0]) for strength in p]


def bootstrap_intervals(
    places: Sequence[Sequence[Comparison]], n: int, seed: int, resamples: int = RESAMPLES
) -> list[tuple[float, float]]:
    """Return the 2.5th and 97.5th percentiles (n,) of the ratings by the bootstrap over places (Efron, 1979).

    Comparisons at one place are drawn together, because they are not independent. The first contestant's rating is
    always `ANCHOR_RATING`, so the other intervals are those of the difference from it.
    """
    random = Random(seed)
    resampled = []
    for _ in range(resamples):
        sample = random.choices(places, k=len(places))
        resampled.append(fit_ratings(count_wins([comparison for place in sample for comparison in place], n)))
    return [percentiles([rating[i] for rating in resampled]) for i in range(n)]


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile, by the nearest rank."""
    ranked = sorted(values)
    return ranked[int(len(ranked) * 0.025)], ranked[min(len(ranked) - 1, int(len(ranked) * 0.975))]


def wilson_interval(won: float, n: float) -> tuple[float, float]:
    """Return the 95% confidence interval of a share (Wilson, JASA 1927); from 0 to 1 if n is 0."""
    if not n:
        return 0.0, 1.0
    share = won / n
    middle = (share + Z_95 * Z_95 / (2 * n)) / (1 + Z_95 * Z_95 / n)
    half = Z_95 / (1 + Z_95 * Z_95 / n) * sqrt(share * (1 - share) / n + Z_95 * Z_95 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
