"""From outcomes of pairs to ratings: Bradley and Terry's model, and how sure its figures are.

Owns the arithmetic only; knows neither models nor where outcomes come from. Contestants are numbers from 0.

The model (Bradley and Terry, Biometrika 1952): i beats j with probability p_i / (p_i + p_j). It is fitted by maximum
likelihood with the iteration of Newman (JMLR 24, 2023), which has the same fixed point as Zermelo's and gets there in
fewer steps. A tie counts as half a win of each. Davidson's model (JASA 1970) has a parameter of its own for how often
there are ties; we want to know who is better and not that, and half wins keep two contestants that mostly say the same
close to each other, which is what a user would notice of them. Each pair starts with one tie that never was (`PRIOR`),
so that who won every time has a finite rating, and who never met have one at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10, sqrt
from random import Random

PRIOR = 1.0  # ties that each pair starts with
ANCHOR, SCALE = 1000.0, 400.0  # the first contestant's rating; points of ten to one, as Elo's are
RESAMPLES = 1000
Z = 1.959964  # of 95%, two-sided
_CLOSE, _MOST = 1e-9, 10_000  # relative change at which the iteration ends; its steps at most

Wins = Sequence[Sequence[float]]
"""How often each contestant (row) beat each other one (column), halves for ties. (n, n)"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One comparison: `score` is what the contestant `one` won of it: 1, 0 or, in a tie, 0.5; `two` won the rest."""

    one: int
    two: int
    score: float


def wins(outcomes: Sequence[Outcome], n: int) -> list[list[float]]:
    """The outcomes of `n` contestants as a table, see `Wins`."""
    table = [[0.0] * n for _ in range(n)]
    for outcome in outcomes:
        table[outcome.one][outcome.two] += outcome.score
        table[outcome.two][outcome.one] += 1 - outcome.score
    return table


def strengths(table: Wins, prior: float = PRIOR) -> list[float]:
    """The most likely strengths p, with a geometric mean of 1, given `prior` ties of each pair besides. (n,)"""
    n = len(table)
    won = [[table[i][j] + prior / 2 if i != j else 0.0 for j in range(n)] for i in range(n)]
    p = [1.0] * n
    for _ in range(_MOST):
        before = list(p)
        for i in range(n):
            others = [j for j in range(n) if j != i]
            gained = sum(won[i][j] * p[j] / (p[i] + p[j]) for j in others)
            lost = sum(won[j][i] / (p[i] + p[j]) for j in others)
            p[i] = gained / lost if gained and lost else p[i]
        product = 1.0
        for strength in p:
            product *= strength ** (1 / n)
        p = [strength / product for strength in p]
        if all(abs(now - then) <= _CLOSE * then for now, then in zip(p, before, strict=True)):
            break
    return p


def ratings(table: Wins, prior: float = PRIOR) -> list[float]:
    """Strengths as ratings: the first contestant has `ANCHOR`, and `SCALE` points more win ten times out of eleven."""
    p = strengths(table, prior)
    return [ANCHOR + SCALE * log10(strength / p[0]) for strength in p]


def intervals(
    places: Sequence[Sequence[Outcome]], n: int, seed: int, resamples: int = RESAMPLES
) -> list[tuple[float, float]]:
    """The 2.5th and 97.5th percentiles of the ratings over places drawn with replacement. (n,)

    Outcomes at one place, such as those of all pairs, are drawn together: they are not independent (Efron, 1979). The
    first contestant's rating is `ANCHOR` always, so the others' intervals are those of the distance to it.
    """
    random = Random(seed)
    drawn = []
    for _ in range(resamples):
        sample = random.choices(places, k=len(places))
        drawn.append(ratings(wins([outcome for place in sample for outcome in place], n)))
    return [percentiles([rating[i] for rating in drawn]) for i in range(n)]


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile, by the nearest rank."""
    ranked = sorted(values)
    return ranked[int(len(ranked) * 0.025)], ranked[min(len(ranked) - 1, int(len(ranked) * 0.975))]


def wilson(won: float, n: float) -> tuple[float, float]:
    """The 95% interval of a share, after Wilson (JASA 1927); of nothing it is all from 0 to 1."""
    if not n:
        return 0.0, 1.0
    share = won / n
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
