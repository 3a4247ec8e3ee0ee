"""Defines the protocol of an executor, which runs a network on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout


class Executor(Protocol):
    """A network on a device, with its keys and values by row number; `kv_cache` keeps the tokens of these rows.

    ``device``: cpu, cuda or mps. ``threads``: CPU threads. ``row_cost``: the time of one more row, relative to a pass
    of one row; 0 if rows are free. `speculative.draft_defaults` selects the drafts by it.
    """

    device: str
    threads: int
    row_cost: float

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Any:
        """Run one pass of rows (T,) after the first ``past`` kept rows, which are clean.

        The keys and values of the rows are written from row ``past`` on, and stay until a run overwrites them. Returns
        the hidden rows (T, width), normalized, on the device; a slice or a list of ints selects rows. The result may be
        valid only until the next run.
        """
        ...

    def scores(self, hidden: Any) -> NDArray[np.float32]:
        """Return the log-probabilities (n, V) of hidden rows (n, width), -inf for forbidden ids.

        The result may be valid only until the next call.
        """
        ...
