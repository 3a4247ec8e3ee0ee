"""Forward passes: rows in, hidden rows and scores out, with the cache kept right.

Owns the network on its device and the cache behind it. Knows the attention rule's two uses in serving (clean rows are
kept, canvases are not) and nothing of how tokens are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mercury_lsp.engine.cache import Cache
from mercury_lsp.engine.network import Network, Rows, visible
from mercury_lsp.engine.worker import Cancelled

CHUNK = 64  # rows of prefill between two looks at cancellation


class Passes:
    """A network and its cache. ``forbidden``: ids that no score may choose."""

    def __init__(self, network: Network, forbidden: Sequence[int], device: torch.device) -> None:
        self.network = network.to(device)
        self.device = device
        self.cache = Cache(network.shape, network.embedding.weight.dtype, device)
        self._forbidden = torch.tensor(forbidden, device=device)

    @torch.inference_mode()
    def read(self, ids: Sequence[int], cancelled: Callable[[], bool]) -> Tensor:
        """Run known tokens behind the cache, in chunks, and keep them; returns the last row. (width,)

        Raises `Cancelled` between two chunks; what was read by then stays.
        """
        last = torch.empty(0)
        for at in range(0, len(ids), CHUNK):
            if cancelled():
                raise Cancelled
            chunk = ids[at : at + CHUNK]
            last = self.run(chunk, Rows.clean(len(self.cache.ids), len(chunk)))[-1]
            self.cache.keep(chunk)
        return last

    @torch.inference_mode()
    def run(self, ids: Sequence[int], rows: Rows) -> Tensor:
        """One pass of rows behind the cache, by the attention rule. Returns (T, width).

        Nothing is kept; `cache.keep` keeps as many of the first rows as it is given ids for.
        """
        past = len(self.cache.ids)
        self.cache.reserve(past + len(ids))
        mask = None
        if not _see_everything(rows):
            mask = visible(rows, Rows.join(Rows.clean(0, past), rows))[None].to(self.device)  # (1, T, S)
        given = torch.tensor([ids], device=self.device)
        hidden: Tensor = self.network(given, rows.position.to(self.device)[None], mask, self.cache)
        return hidden[0]

    @torch.inference_mode()
    def scores(self, hidden: Tensor) -> Tensor:
        """Log-probabilities without the tokens that must never be shown. (n, width) -> float (n, V)"""
        logits = self.network.logits(hidden).float()
        return logits.index_fill(-1, self._forbidden, -torch.inf).log_softmax(-1)


def _see_everything(rows: Rows) -> bool:
    """Whether the rule lets each row see every key, so that no mask is needed: one clean row, or one canvas."""
    if len(rows.position) == 1:
        return True
    first = rows.canvas[0]
    return bool(first > 0) and bool((rows.canvas == first).all())
