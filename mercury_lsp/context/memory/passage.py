"""Finds contexts in the open document as it is now, which changes with each key, by scanning its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.context.memory.segment import Ids, Key
from mercury_lsp.engine.decoding.mixture import CONTEXT_TOKENS

NEAR_TOKENS = (1 << 16, 1 << 14)
"""Most tokens before and after the cursor that are scanned."""
FEW = 8
"""Places that are compared one by one."""

Places = NDArray[np.intp]


class Passage:
    """The text before the cursor and the text after it: nothing matches across the two, nor at the cursor itself."""

    def __init__(self, before: Ids, after: Ids) -> None:
        """Ids of one type (n,). Costs some microseconds for ten thousand tokens."""
        dtype = before.dtype
        self.width = dtype.itemsize
        separator = np.array([np.iinfo(dtype).max], dtype)
        near = before[-NEAR_TOKENS[0] :], separator, after[: NEAR_TOKENS[1]], separator
        text = np.concatenate([np.repeat(separator, CONTEXT_TOKENS), *near])[::-1]
        self._text: Ids = np.ascontiguousarray(text)
        self._bytes = self._text.astype(dtype.newbyteorder(">")).tobytes()
        self.separator = int(separator[0])
        self._order: tuple[Places, Ids] | None = None
        self._cursor = len(near[2]) + 1

    def matching(self, key: Key, context: Sequence[int]) -> list[tuple[int, Places]]:
        """Where in the reversed text contexts begin that share the last tokens: lengths, and the places of each.

        The lengths grow, and the places of a longer match are among those of a shorter one.
        """
        text, found, length = self._text, self._at(context[-1]), 1
        kept: list[tuple[int, Places]] = []
        while len(found) > FEW:
            kept.append((length, found))
            if length == key.tokens:
                return kept
            found = found[text[found + length] == context[-1 - length]]
            length += 1
        if len(found):
            size = CONTEXT_TOKENS * self.width
            starts = (found * self.width).tolist()
            shared = [key.shared(self._bytes[at : at + size], self.width) for at in starts]
            lengths = np.array(shared)
            kept += [(length, found[lengths >= length]) for length in sorted(set(shared))]
        return kept

    def nearest(self, places: Places, most: int) -> Places:
        """At most so many of the places, those nearest to the cursor."""
        if len(places) <= most:
            return places
        return places[np.argsort(np.abs(places - self._cursor), kind="stable")[:most]]

    def tokens_at(self, indices: NDArray[np.integer]) -> list[int]:
        """The id before each index of the reversed text; the separator at an end."""
        return cast(list[int], self._text[indices - 1].tolist())

    def _at(self, token: int) -> Places:
        """Where a token stands that another one comes after."""
        text = self._text
        if self._order is None:
            order = np.argsort(text, kind="stable")
            order = order[1:] if order[0] == 0 else order
            order = order[(order > 0) & (text[order - 1] != self.separator)]
            self._order = order, text[order]
        order, ordered = self._order
        # Of the same type: otherwise all of the text is converted.
        wanted = ordered.dtype.type(token)
        return order[ordered.searchsorted(wanted) : ordered.searchsorted(wanted, "right")]
