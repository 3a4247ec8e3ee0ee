"""Choosing: which undecided positions of a canvas to commit after a pass. Pure; knows no network and no tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Enough = Callable[[Sequence[float]], int]
"""Given the doubts of some positions, ascending: how many of them may be committed together."""


def entropy_bound(bound: float) -> Enough:
    """As many as have entropies that sum, without the largest, to at most ``bound`` nats: a bound on what committing
    them together ignores of their dependence (the entropy-bounded sampler, Ben-Hamu et al. 2025)."""

    def enough(doubt: Sequence[float]) -> int:
        total = 0.0
        for count, nats in enumerate(doubt):
            if total > bound:  # all so far, the last being the largest, stay out of the sum
                return count
            total += nats
        return len(doubt)

    return enough


def threshold(least: float) -> Enough:
    """As many as have a probability of at least ``least``, doubt being its negative logarithm (Fast-dLLM, Wu et al.
    2025)."""
    most = -math.log(least)
    return lambda doubt: sum(nats <= most for nats in doubt)


def positions_to_commit(doubt: Sequence[float], ends: Sequence[bool], enough: Enough) -> list[int]:
    """Indices, ascending, of the undecided positions to commit; at least one.

    doubt: of each undecided position's prediction, left to right, in nats. ends: whether its likeliest token would
    end the text. Positions behind the first end are not wanted, so they wait. Of the others, the surest are taken, as
    many as ``enough`` says, but one at least. An end is taken only with, or after, everything left of it.
    """
    first_end = next((i for i, is_end in enumerate(ends) if is_end), len(doubt) - 1)
    surest = sorted(range(first_end + 1), key=lambda i: doubt[i])
    taken = set(surest[: max(1, enough([doubt[i] for i in surest]))])
    if ends[first_end] and first_end in taken and len(taken) <= first_end:
        taken.discard(first_end)
    return sorted(taken) or [surest[0] if surest[0] != first_end or first_end == 0 else surest[1]]
