"""Finds contexts in the open document as it is now, which changes with each key, by scanning its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.context.memory.segment import Ids, Key
from mercury_lsp.engine.mixture import DEPTH

NEAR = (1 << 16, 1 << 14)
"""Most tokens before and after the cursor that are scanned."""
FEW = 12
"""Places that are compared one by one."""


class Passage:
    """The text before the cursor and the text after it: nothing matches across the two, nor at the cursor itself."""

    def __init__(self, before: Ids, after: Ids) -> None:
        """Ids of one type (n,). Costs some microseconds for ten thousand tokens."""
        dtype = before.dtype
        self.width = dtype.itemsize
        separator = np.array([np.iinfo(dtype).max], dtype)
        near = before[-NEAR[0] :], separator, after[: NEAR[1]], separator
        text = np.concatenate([np.repeat(separator, DEPTH), *near])[::-1]
        self._text: Ids = np.ascontiguousarray(text)
        self._bytes = self._text.astype(dtype.newbyteorder(">")).tobytes()
        self.separator = int(separator[0])
        self._order: tuple[NDArray[np.intp], Ids] | None = None
        self._cursor = len(near[2]) + 1

    def matching(self, key: Key, context: Sequence[int]) -> list[NDArray[np.intp]]:
        """Where in the reversed text the contexts begin that share at least 1, 2, 3 and so on of the last tokens."""
        text = self._text
        found = self._at(context[-1])
        kept = []
        length = 1
        while len(found) > FEW:
            kept.append(found)
            if length == key.tokens:
                return kept
            found = found[text[found + length] == context[-1 - length]]
            length += 1
        if len(found):
            size = DEPTH * self.width
            starts = (found * self.width).tolist()
            shared = np.array([key.shared(self._bytes[at : at + size], self.width) for at in starts])
            kept += [found[shared >= depth] for depth in range(length, int(shared.max()) + 1)]
        return kept

    def nearest(self, places: NDArray[np.intp], most: int) -> NDArray[np.intp]:
        """At most so many of the places, those nearest to the cursor."""
        if len(places) <= most:
            return places
        return places[np.argsort(np.abs(places - self._cursor), kind="stable")[:most]]

    def tokens_at(self, indices: NDArray[np.integer]) -> list[int]:
        """The id before each index of the reversed text; the separator at an end."""
        return cast(list[int], self._text[indices - 1].tolist())

    def _at(self, token: int) -> NDArray[np.intp]:
        """Where a token stands that another one comes after."""
        text = self._text
        if self._order is None:
            order = np.argsort(text, kind="stable")
            order = order[1:] if order[0] == 0 else order
            order = order[(order > 0) & (text[order - 1] != self.separator)]
            self._order = order, text[order]
        order, ordered = self._order
        first, end = np.searchsorted(ordered, [token, token + 1])
        return order[first:end]
