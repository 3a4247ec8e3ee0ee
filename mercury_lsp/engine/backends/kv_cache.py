"""Runs forward passes and keeps the ids of the tokens whose keys and values the executor holds.

Clean rows are causal and never see a canvas. So the keys and values of a common prefix are exactly those of a fresh
run. Clean rows may be kept, canvases never.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os.path import commonprefix
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.worker import Cancelled

# Cancellation is checked between two chunks of a prefill.
PREFILL_CHUNK_ROWS = 64


class CachedModel:
    """An executor, and the ``ids`` of its kept rows, from the first on; nothing else may run the executor."""

    def __init__(self, executor: Executor) -> None:
        self.ids: list[int] = []
        self._executor = executor

    def reuse(self, ids: Sequence[int]) -> int:
        """Forget all but the longest common prefix with ``ids``; returns its length."""
        length = len(commonprefix([self.ids, list(ids)]))
        del self.ids[length:]
        return length

    def keep(self, ids: Sequence[int]) -> None:
        """Keep the first rows of the last pass, which belong to ``ids``."""
        self.ids += ids

    def read(self, ids: Sequence[int], cancelled: Callable[[], bool]) -> Any:
        """Run known tokens after the cached ones, in chunks, and keep them; returns the last row (1, width).

        Returns None without tokens. Raises `Cancelled` between two chunks; the chunks read by then stay in the cache.
        """
        last = None
        for at in range(0, len(ids), PREFILL_CHUNK_ROWS):
            if cancelled():
                raise Cancelled
            chunk = ids[at : at + PREFILL_CHUNK_ROWS]
            last = self.run(chunk, TokenLayout.clean(len(self.ids), len(chunk)))[-1:]
            self.keep(chunk)
        return last

    def run(self, ids: Sequence[int], rows: TokenLayout) -> Any:
        """Run one pass of rows after the cached ones, by the attention rule; returns (T, width) on the device.

        Keeps nothing; `keep` keeps as many of the first rows as it gets ids.
        """
        return self._executor.run(ids, rows, len(self.ids))

    def scores(self, hidden: Any) -> NDArray[np.float32]:
        """Log-probabilities, -inf for forbidden tokens, valid until the next call. (n, width) -> (n, V)"""
        return self._executor.scores(hidden)
