"""Chooses which undecided positions of a canvas to commit after a pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Enough = Callable[[Sequence[float]], int]
"""Given the doubts of positions, ascending: how many of them may be committed together."""


def entropy_bound(bound: float) -> Enough:
    """Commit the most positions whose entropies, without the largest, sum to at most ``bound`` nats.

    The sum bounds the dependence that committing them together ignores (the entropy-bounded sampler, Ben-Hamu et al.
    2025).
    """

    def enough(doubt: Sequence[float]) -> int:
        total = 0.0
        for count, nats in enumerate(doubt):
            # The last of the positions so far is the largest, and stays out of the sum.
            if total > bound:
                return count
            total += nats
        return len(doubt)

    return enough


def threshold(least: float) -> Enough:
    """Commit the positions of a probability of at least ``least``; the doubt is its negative logarithm in nats.

    Source: Fast-dLLM, Wu et al. 2025.
    """
    max_nats = -math.log(least)
    return lambda doubt: sum(nats <= max_nats for nats in doubt)


def positions_to_commit(doubt: Sequence[float], ends: Sequence[bool], enough: Enough) -> list[int]:
    """Indices, ascending, of the undecided positions to commit; at least one.

    doubt: of each undecided position's prediction, left to right, in nats. ends: whether its likeliest token would
    end the text. Positions after the first end wait, because they may not be needed. Of the others, the surest are
    committed, as many as ``enough`` allows. An end is committed only together with, or after, all positions left of it.
    """
    first_end = next((i for i, is_end in enumerate(ends) if is_end), len(doubt) - 1)
    surest = sorted(range(first_end + 1), key=lambda i: doubt[i])
    taken = set(surest[: max(1, enough([doubt[i] for i in surest]))])
    if ends[first_end] and first_end in taken and len(taken) <= first_end:
        taken.discard(first_end)
    return sorted(taken) or [surest[0] if surest[0] != first_end or first_end == 0 else surest[1]]
