"""Finds the places at which another text may branch off from a decoded one, likeliest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Only the first tokens have branches, because a user sees no choice in texts that differ late.
BRANCH_TOKENS = 24
TOKENS_PER_PLACE = 4


@dataclass(frozen=True, slots=True)
class Branch:
    """Another ``token`` at index ``at`` of the text, with its own log-probability ``logp``."""

    at: int
    token: int
    logp: float


def branches(scores: NDArray[np.float32], tokens: Sequence[int]) -> list[Branch]:
    """The branches of a text, ordered by the joint probability of the branch and the text before it.

    scores: (n, V), row i predicts token i; one row more than tokens predicts other tokens than the stop token.
    """
    left = scores.copy()
    for i, token in enumerate(tokens[: len(left)]):
        left[i, token] = -np.inf
    if len(left) > len(tokens):
        # The stop token that was chosen.
        left[-1, int(left[-1].argmax())] = -np.inf
    rows = np.arange(len(left))
    before = np.concatenate([[0.0], np.cumsum([scores[i, token] for i, token in enumerate(tokens)])])
    scored: list[tuple[float, Branch]] = []
    for _ in range(TOKENS_PER_PLACE):
        best = left.argmax(-1)  # (n,)
        sure = left[rows, best]
        for i in np.flatnonzero(np.isfinite(sure)).tolist():
            logp = float(sure[i])
            scored.append((float(before[i]) + logp, Branch(i, int(best[i]), logp)))
        left[rows, best] = -np.inf
    return [branch for _, branch in sorted(scored, key=lambda pair: -pair[0])]
