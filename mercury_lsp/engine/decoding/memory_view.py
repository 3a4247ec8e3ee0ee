"""Mixes the project memory with the model's scores during one decoding, by the fitted weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.mixture import CONTEXT_TOKENS, Memory, Mixture

Scores = NDArray[np.float32]

MIN_SOURCE_GAIN_NATS = 1.0
"""A file counts as a middle's source if it raises the middle's log-likelihood by at least this much."""


class MemoryView:
    """The project memory as seen from one middle, with the mixture's weights.

    ``before``: the tokens before the middle, of which the last `CONTEXT_TOKENS` count. ``mixes``: whether the memory
    changes the scores; if not, the memory only drafts, for models without a mixture fitted to them.
    """

    def __init__(self, mixture: Mixture, memory: Memory, before: Sequence[int], mixes: bool = True) -> None:
        self._mixture, self._memory, self._mixes = mixture, memory, mixes
        self._before = list(before[-CONTEXT_TOKENS:])
        # By a token's index: the path of the matching file, and the gain in nats of each token that follows there.
        self._gains: dict[int, tuple[str, dict[int, float]]] = {}

    def mix(self, scores: Scores, tokens: Sequence[int]) -> Scores:
        """Return the model's log-probabilities (n, V), mixed with the memory's continuations.

        The last row predicts the token after all of ``tokens``, the row before it the last of ``tokens``, and so on.
        The stem restricts the mixed scores afterwards, so that the source that predicts the stem better counts more.
        """
        if not self._mixes:
            return scores
        first = len(tokens) - len(scores) + 1
        context = [*self._before, *tokens]
        context_ends = range(len(context) - len(scores) + 1, len(context) + 1)
        contexts = [context[max(0, end - CONTEXT_TOKENS) : end] for end in context_ends]
        mixed, matches = self._mixture.mix(scores, contexts, self._memory)
        for i, match in enumerate(matches):
            ids = list(match.ids)
            nats = (mixed[i, ids] - scores[i, ids]).tolist()
            self._gains[first + i] = match.path, dict(zip(ids, nats, strict=True))
        return mixed

    def draft(self, tokens: Sequence[int], max_tokens: int) -> tuple[list[int], list[float]]:
        """Return the memory's likeliest continuation of ``tokens``, and the probabilities of its tokens.

        Each token's probability is given that the drafted tokens before it are right.
        """
        steps = self._memory.predict_continuation([*self._before, *tokens][-CONTEXT_TOKENS:], max_tokens)
        return [step.token for step in steps], self._mixture.continuation_probabilities(steps)

    def after(self, tokens: Sequence[int]) -> MemoryView:
        """Return a view of the same memory from the position after ``tokens``."""
        return MemoryView(self._mixture, self._memory, [*self._before, *tokens], self._mixes)

    def source(self, tokens: Sequence[int]) -> str:
        """Return the path of the file that makes a middle likeliest; empty below `MIN_SOURCE_GAIN_NATS`."""
        gains: dict[str, float] = {}
        for index, token in enumerate(tokens):
            path, nats = self._gains.get(index, ("", {}))
            if path:
                gains[path] = gains.get(path, 0.0) + nats.get(token, 0.0)
        path = max(gains, key=gains.__getitem__, default="")
        return path if path and gains[path] >= MIN_SOURCE_GAIN_NATS else ""
