"""Choosing: which undecided positions of a canvas to commit after a pass. Pure; knows no network and no tensors."""

from __future__ import annotations

from collections.abc import Sequence


def choose(entropy: Sequence[float], ends: Sequence[bool], bound: float) -> list[int]:
    """Indices, ascending, of the undecided positions to commit; at least one.

    entropy: nats of each undecided position's prediction, left to right. ends: whether its likeliest token would end
    the text. Positions behind the first end are not wanted, so they wait. Of the others, the surest are taken while
    their entropies, without the largest, sum to at most ``bound``: a bound on what committing them together ignores
    of their dependence (the entropy-bounded sampler, Ben-Hamu et al. 2025). An end is taken only with, or after,
    everything left of it.
    """
    first_end = next((i for i, is_end in enumerate(ends) if is_end), len(entropy) - 1)
    surest = sorted(range(first_end + 1), key=lambda i: entropy[i])
    total, taken = 0.0, set()
    for i in surest:
        if total > bound:  # all taken so far, this one being the largest, stay out of the sum
            break
        taken.add(i)
        total += entropy[i]
    if ends[first_end] and first_end in taken and len(taken) <= first_end:
        taken.discard(first_end)
    return sorted(taken) or [surest[0] if surest[0] != first_end or first_end == 0 else surest[1]]
