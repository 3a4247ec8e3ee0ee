"""Picks tokens by their scores: the likeliest, sampled ones, or those with which alternative texts branch off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.denoise import likeliest

Pick = Callable[[NDArray[np.float32], int], tuple[list[int], list[float]]]
"""Takes log-probabilities (n, V) and the index of the first token in the middle; returns ids and log-probabilities."""

_SEEDS = 1 << 64
# Only the first tokens have branches, because texts that differ late offer the user no real choice.
BRANCH_TOKENS = 24
TOKENS_PER_POSITION = 4


def greedy(scores: NDArray[np.float32], first: int) -> tuple[list[int], list[float]]:
    """Pick the likeliest token of each row."""
    return likeliest(scores)


def sampled(temperature: float, seed: int) -> Pick:
    """Return a `Pick` that samples tokens with probabilities proportional to p^(1 / temperature).

    The maximum of the scores plus Gumbel noise is such a sample (Gumbel 1954; Maddison et al. 2014). The noise depends
    only on the seed and the token's index. So a drafted token and its verification have the same noise, drafts are
    accepted about as often as without noise, and the text does not depend on the batch.
    """

    def pick(scores: NDArray[np.float32], first: int) -> tuple[list[int], list[float]]:
        ids = []
        for index, row in enumerate(scores, first):
            exponential = np.random.Generator(
                np.random.Philox(key=[seed % _SEEDS, index])
            ).standard_exponential(len(row), np.float32)
            noise = -np.log(np.maximum(exponential, np.finfo(np.float32).tiny))
            # The noise times the temperature, not the scores divided by it, which has no result near 0.
            ids.append(int((row + np.float32(temperature) * noise).argmax()))
        return ids, scores[np.arange(len(ids)), ids].tolist() if ids else []

    return pick


@dataclass(frozen=True, slots=True)
class Branch:
    """An alternative ``token`` at index ``at`` of a text, with its own log-probability ``logp``."""

    at: int
    token: int
    logp: float


def branches(scores: NDArray[np.float32], tokens: Sequence[int]) -> list[Branch]:
    """Return the branches of a text, ordered by the joint probability of the branch and the text before it.

    scores: (n, V), row i predicts token i; a row after the last token predicts alternatives to the stop token.
    """
    remaining = scores.copy()
    for i, token in enumerate(tokens[: len(remaining)]):
        remaining[i, token] = -np.inf
    if len(remaining) > len(tokens):
        # The token that was chosen after the text is its stop token.
        remaining[-1, int(remaining[-1].argmax())] = -np.inf
    rows = np.arange(len(remaining))
    logp_before = np.concatenate([[0.0], np.cumsum([scores[i, token] for i, token in enumerate(tokens)])])
    scored: list[tuple[float, Branch]] = []
    for _ in range(TOKENS_PER_POSITION):
        best = remaining.argmax(-1)  # (n,)
        best_logp = remaining[rows, best]
        for i in np.flatnonzero(np.isfinite(best_logp)).tolist():
            logp = float(best_logp[i])
            scored.append((float(logp_before[i]) + logp, Branch(i, int(best[i]), logp)))
        remaining[rows, best] = -np.inf
    return [branch for _, branch in sorted(scored, key=lambda pair: -pair[0])]
