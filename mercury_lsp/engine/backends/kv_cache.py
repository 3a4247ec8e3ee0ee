"""The cache: which tokens the network has already read, exactly.

Owns their ids; the keys and values are the executor's, row by row. Context rows are causal and never see a canvas, so
the keys and values of a common prefix are those that a fresh run would give; nothing is approximated. Knows no
sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix


class Cache:
    """The ids whose keys and values the executor keeps, from its first row on."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def reuse(self, ids: Sequence[int]) -> int:
        """Forget all but the longest common start with ``ids``; returns its length."""
        kept = len(commonprefix([self.ids, list(ids)]))
        del self.ids[kept:]
        return kept

    def keep(self, ids: Sequence[int]) -> None:
        """The first rows of the last pass belong to ``ids``, and stay."""
        self.ids += ids
