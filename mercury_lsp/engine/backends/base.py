"""What the engine asks of whatever computes the network: one protocol, behind which a library and a device stand.

Owns the interface only. An executor keeps keys and values by the number of their row; which tokens these rows are is
`cache`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout


class Executor(Protocol):
    """A network on a device, with room for the keys and values of what it has read. ``device``: cpu, cuda or mps;
    ``threads``: how many of the processor it may use. ``block``, ``canvas_threshold``: the `Drafting` that pays on
    it: where a row more costs nothing, large canvases at every place."""

    device: str
    threads: int
    block: int
    canvas_threshold: float

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Any:
        """One pass of rows (T,) behind the first ``past`` rows that are kept, which are clean.

        Their keys and values are written behind those, from row ``past`` on, and last until a run overwrites them.
        Returns the hidden rows (T, width), normalized, on the device; a slice or a list of ints takes some of them.
        They may last only until the next run.
        """
        ...

    def scores(self, hidden: Any) -> NDArray[np.float32]:
        """Log-probabilities (n, V) of hidden rows (n, width), -inf for the ids that must never be shown.

        They may last only until the next call.
        """
        ...
