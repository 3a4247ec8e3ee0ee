"""Picks a token by its scores: the likeliest, or one drawn at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.denoise import likeliest

Pick = Callable[[NDArray[np.float32], int], tuple[list[int], list[float]]]
"""Given log-probabilities (n, V) of a middle's tokens and the index of the first: their ids and log-probabilities."""

_SEEDS = 1 << 64


def greedy(scores: NDArray[np.float32], first: int) -> tuple[list[int], list[float]]:
    """Pick the likeliest token."""
    return likeliest(scores)


def sampled(temperature: float, seed: int) -> Pick:
    """Draw tokens with probabilities p^(1 / temperature), normalized.

    The largest of scores with Gumbel noise is such a draw (Gumbel 1954; Maddison et al. 2014). The noise depends on the
    seed and the token's index alone. So a drafted token and its verification have the same noise, drafts are accepted
    about as often as without noise, and the text does not depend on the batch.
    """

    def pick(scores: NDArray[np.float32], first: int) -> tuple[list[int], list[float]]:
        ids = []
        for index, row in enumerate(scores, first):
            waits = np.random.Generator(np.random.Philox(key=[seed % _SEEDS, index])).standard_exponential(
                len(row), np.float32
            )
            noise = -np.log(np.maximum(waits, np.finfo(np.float32).tiny))
            ids.append(int((row / np.float32(temperature) + noise).argmax()))
        return ids, scores[np.arange(len(ids)), ids].tolist() if ids else []

    return pick
