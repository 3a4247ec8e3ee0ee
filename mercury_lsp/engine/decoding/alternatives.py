"""Where another text leaves one that was decoded: the places at which another token is likely too.

Owns the order of these branches. What is decoded behind them, and whether it is worth showing, is for others to say.
Pure; knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REACH = (
    24  # tokens of a text within which others leave it: what differs only far behind is no choice to a user
)
WIDTH = 4  # other tokens at one place


@dataclass(frozen=True, slots=True)
class Branch:
    """Another ``token`` than the text's at index ``at``; ``logp`` is that token's own."""

    at: int
    token: int
    logp: float


def branches(scores: NDArray[np.float32], tokens: Sequence[int]) -> list[Branch]:
    """The branches of a text, those first that are likeliest together with the text before them.

    scores: (n, V), row i foretells token i; there may be a row more than tokens: what else might come than the end.
    """
    left = scores.copy()
    for i, token in enumerate(tokens[: len(left)]):
        left[i, token] = -np.inf
    if len(left) > len(tokens):
        left[-1, int(left[-1].argmax())] = -np.inf  # the end that was chosen
    rows = np.arange(len(left))
    before = np.concatenate([[0.0], np.cumsum([scores[i, token] for i, token in enumerate(tokens)])])
    found: list[tuple[float, Branch]] = []
    for _ in range(WIDTH):
        best = left.argmax(-1)  # (n,)
        sure = left[rows, best]
        for i in np.flatnonzero(np.isfinite(sure)).tolist():
            logp = float(sure[i])
            found.append((float(before[i]) + logp, Branch(i, int(best[i]), logp)))
        left[rows, best] = -np.inf
    return [branch for _, branch in sorted(found, key=lambda pair: -pair[0])]
