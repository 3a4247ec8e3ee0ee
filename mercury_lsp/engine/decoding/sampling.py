"""Which token one is by its scores: the likeliest, or one that is drawn. Pure; knows no network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.denoise import likeliest

Pick = Callable[[NDArray[np.float32], int], tuple[list[int], list[float]]]
"""Given log-probabilities (n, V) of a middle's tokens and the index of the first: their ids and log-probabilities."""

_SEEDS = 1 << 64


def greedy(scores: NDArray[np.float32], first: int) -> tuple[list[int], list[float]]:
    """The likeliest."""
    return likeliest(scores)


def drawn(temperature: float, seed: int) -> Pick:
    """Drawn with probabilities p^(1 / temperature), normalized.

    The largest of scores to which Gumbel noise is added is such a draw (Gumbel 1954; Maddison et al. 2014). The noise
    depends on the seed and on the token's index alone: so a token that is drafted and later verified has the same, and
    a draft holds about as often as one without noise; and a text does not depend on what it was computed with.
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
