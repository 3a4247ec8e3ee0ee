"""Shows the project memory to one decoding: behind the prompt's own tokens, mixed by the fitted weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.mixture import DEPTH, Memory, Mixture

Scores = NDArray[np.float32]

TOLD_NATS = 1.0
"""By so much, over all of its tokens, a middle is likelier by a file of the project which is named as its source."""


class MemoryView:
    """A memory, the weights by which it is mixed, and the last tokens ``before`` the middle, at most `DEPTH`."""

    def __init__(self, mixture: Mixture, memory: Memory, before: Sequence[int]) -> None:
        self._mixture, self._memory = mixture, memory
        self._before = list(before[-DEPTH:])
        # By a token's index: the file that speaks for some tokens, and by how many nats.
        self._gains: dict[int, tuple[str, dict[int, float]]] = {}

    def mix(self, scores: Scores, tokens: Sequence[int]) -> Scores:
        """The model's log-probabilities (n, V) mixed with what followed elsewhere.

        The last row foretells the token behind all of ``tokens``, the row before it the one behind all but the last,
        and so on. A stem restricts what comes out: so it speaks for the one of the two that foretold it.
        """
        first = len(tokens) - len(scores) + 1
        whole = [*self._before, *tokens]
        ends = range(len(whole) - len(scores) + 1, len(whole) + 1)
        contexts = [whole[max(0, end - DEPTH) : end] for end in ends]
        mixed, matches = self._mixture.mix(scores, contexts, self._memory)
        for i, match in enumerate(matches):
            ids = list(match.ids)
            nats = (mixed[i, ids] - scores[i, ids]).tolist()
            self._gains[first + i] = match.path, dict(zip(ids, nats, strict=True))
        return mixed

    def draft(self, tokens: Sequence[int], most: int) -> tuple[list[int], list[float]]:
        """What probably follows ``tokens`` by what followed elsewhere, at most so many tokens, maybe none; and each
        one's probability, given that those before it are right."""
        steps = self._memory.foretell([*self._before, *tokens][-DEPTH:], most)
        return [step.token for step in steps], self._mixture.odds(steps)

    def behind(self, tokens: Sequence[int]) -> MemoryView:
        """The same memory behind more tokens."""
        return MemoryView(self._mixture, self._memory, [*self._before, *tokens])

    def source(self, tokens: Sequence[int]) -> str:
        """The path of the file that speaks most for the first tokens of a middle; empty where none does by much."""
        gains: dict[str, float] = {}
        for index, token in enumerate(tokens):
            path, nats = self._gains.get(index, ("", {}))
            if path:
                gains[path] = gains.get(path, 0.0) + nats.get(token, 0.0)
        path = max(gains, key=gains.__getitem__, default="")
        return path if path and gains[path] >= TOLD_NATS else ""
