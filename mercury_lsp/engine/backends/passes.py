"""Forward passes: rows in, hidden rows and scores out, with the cache kept right.

Owns the cache of what an executor has read. Knows the attention rule's two uses in serving (clean rows are kept,
canvases are not), and nothing of how tokens are chosen nor of what computes the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.kv_cache import Cache
from mercury_lsp.engine.worker import Cancelled

CHUNK = 64  # rows of prefill between two looks at cancellation


class CachedModel:
    """An executor and its cache: nobody else may run the executor."""

    def __init__(self, executor: Executor) -> None:
        self.cache = Cache()
        self._executor = executor

    def read(self, ids: Sequence[int], cancelled: Callable[[], bool]) -> Any:
        """Run known tokens behind the cache, in chunks, and keep them; returns the last row (1, width).

        None where there are no tokens. Raises `Cancelled` between two chunks; what was read by then stays.
        """
        last = None
        for at in range(0, len(ids), CHUNK):
            if cancelled():
                raise Cancelled
            chunk = ids[at : at + CHUNK]
            last = self.run(chunk, TokenLayout.clean(len(self.cache.ids), len(chunk)))[-1:]
            self.cache.keep(chunk)
        return last

    def run(self, ids: Sequence[int], rows: TokenLayout) -> Any:
        """One pass of rows behind the cache, by the attention rule. Returns (T, width) on the executor's device.

        Nothing is kept; `cache.keep` keeps as many of the first rows as it is given ids for.
        """
        return self._executor.run(ids, rows, len(self.cache.ids))

    def scores(self, hidden: Any) -> NDArray[np.float32]:
        """Log-probabilities without the tokens that must never be shown, until the next call. (n, width) -> (n, V)"""
        return self._executor.scores(hidden)
