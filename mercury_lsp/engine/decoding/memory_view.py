"""Shows the project memory to one decoding, mixed with the model's scores by the fitted weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.mixture import CONTEXT_TOKENS, Memory, Mixture

Scores = NDArray[np.float32]

SOURCE_NATS = 1.0
"""A file is named as a middle's source if the file makes the middle likelier by so much, over all tokens."""


class MemoryView:
    """A memory, the weights that mix it, and the last tokens ``before`` the middle, at most `CONTEXT_TOKENS`.

    ``mixes``: whether the memory takes part in the scores; if not, it only drafts, for models that no weights were
    fitted to.
    """

    def __init__(self, mixture: Mixture, memory: Memory, before: Sequence[int], mixes: bool = True) -> None:
        self._mixture, self._memory, self._mixes = mixture, memory, mixes
        self._before = list(before[-CONTEXT_TOKENS:])
        # By a token's index: the file with the match, and the gain of each matching token in nats.
        self._gains: dict[int, tuple[str, dict[int, float]]] = {}

    def mix(self, scores: Scores, tokens: Sequence[int]) -> Scores:
        """The model's log-probabilities (n, V), mixed with the memory's continuations.

        The last row predicts the token after all of ``tokens``, the row before it the token after all but the last, and
        so on. The stem restricts the result afterwards, so that the better of the two predictions of the stem counts.
        """
        if not self._mixes:
            return scores
        first = len(tokens) - len(scores) + 1
        whole = [*self._before, *tokens]
        ends = range(len(whole) - len(scores) + 1, len(whole) + 1)
        contexts = [whole[max(0, end - CONTEXT_TOKENS) : end] for end in ends]
        mixed, matches = self._mixture.mix(scores, contexts, self._memory)
        for i, match in enumerate(matches):
            ids = list(match.ids)
            nats = (mixed[i, ids] - scores[i, ids]).tolist()
            self._gains[first + i] = match.path, dict(zip(ids, nats, strict=True))
        return mixed

    def draft(self, tokens: Sequence[int], most: int) -> tuple[list[int], list[float]]:
        """The memory's likeliest continuation of ``tokens``, at most ``most`` tokens, and each one's probability.

        The probability of a token is given that the tokens before it are right.
        """
        steps = self._memory.foretell([*self._before, *tokens][-CONTEXT_TOKENS:], most)
        return [step.token for step in steps], self._mixture.odds(steps)

    def after(self, tokens: Sequence[int]) -> MemoryView:
        """The same memory, seen after more tokens."""
        return MemoryView(self._mixture, self._memory, [*self._before, *tokens], self._mixes)

    def source(self, tokens: Sequence[int]) -> str:
        """The path of the file that makes a middle likelier by the most nats; empty below `SOURCE_NATS`."""
        gains: dict[str, float] = {}
        for index, token in enumerate(tokens):
            path, nats = self._gains.get(index, ("", {}))
            if path:
                gains[path] = gains.get(path, 0.0) + nats.get(token, 0.0)
        path = max(gains, key=gains.__getitem__, default="")
        return path if path and gains[path] >= SOURCE_NATS else ""
