"""Runs forward passes, and tracks the tokens whose keys and values the executor holds.

Clean rows are causal and never see a canvas. So the cached keys and values of a common prefix are exactly those that a
new run would compute. Clean rows may be kept, canvas rows never.
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
    """An executor with the ``ids`` of its kept rows, from the first on; no other code may run the executor."""

    def __init__(self, executor: Executor) -> None:
        self.ids: list[int] = []
        self._executor = executor

    def reuse(self, ids: Sequence[int]) -> int:
        """Drop all kept rows after the longest common prefix with ``ids``; return the length of that prefix."""
        length = len(commonprefix([self.ids, list(ids)]))
        del self.ids[length:]
        return length

    def keep(self, ids: Sequence[int]) -> None:
        """Keep the first rows of the last pass, which must be those of ``ids``."""
        self.ids += ids

    def extend(self, ids: Sequence[int], cancelled: Callable[[], bool]) -> Any:
        """Run known tokens after the cached ones, in chunks, and keep them; return the last hidden row (1, width).

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
        """Run one pass of rows after the cached ones; return the hidden rows (T, width) on the device.

        The rows are not kept until `keep` is called with the ids of the first of them.
        """
        return self._executor.run(ids, rows, len(self.ids))

    def scores(self, hidden: Any) -> NDArray[np.float32]:
        """Return log-probabilities, -inf for forbidden tokens, valid until the next call. (n, width) -> (n, V)"""
        return self._executor.scores(hidden)
