"""Finds contexts in the tokens of the open document by scanning them, because they change with each key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.context.memory.segment import Ids, Key
from mercury_lsp.engine.decoding.mixture import CONTEXT_TOKENS

NEAR_TOKENS = (1 << 16, 1 << 14)
"""The numbers of tokens before and after the cursor that are scanned."""
MAX_SINGLE_COMPARISONS = 8
"""The largest number of places that are compared one by one."""

Places = NDArray[np.intp]


class Passage:
    """The tokens before and after the cursor. No context matches across the cursor, or directly before it."""

    def __init__(self, before: Ids, after: Ids) -> None:
        """Reverse and join the ids (n,) of one dtype. Takes some microseconds for ten thousand tokens."""
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

    def matches(self, key: Key, context: Sequence[int]) -> list[tuple[int, Places]]:
        """Return lengths of matches with the end of a context, and the places in the reversed text that match so far.

        The lengths are ascending; the places of a longer match are a subset of those of a shorter one.
        """
        text, found, length = self._text, self._places_of(context[-1]), 1
        kept: list[tuple[int, Places]] = []
        while len(found) > MAX_SINGLE_COMPARISONS:
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
        """Return at most `most` of the places, those nearest to the cursor."""
        if len(places) <= most:
            return places
        return places[np.argsort(np.abs(places - self._cursor), kind="stable")[:most]]

    def tokens_at(self, indices: NDArray[np.integer]) -> list[int]:
        """Return the id before each index of the reversed text, or the separator at an end."""
        return cast(list[int], self._text[indices - 1].tolist())

    def _places_of(self, token: int) -> Places:
        """Return the places of a token that another token follows in the document."""
        text = self._text
        if self._order is None:
            order = np.argsort(text, kind="stable")
            order = order[1:] if order[0] == 0 else order
            order = order[(order > 0) & (text[order - 1] != self.separator)]
            self._order = order, text[order]
        order, ordered = self._order
        # With another dtype numpy would convert the whole text.
        wanted = ordered.dtype.type(token)
        return order[ordered.searchsorted(wanted) : ordered.searchsorted(wanted, "right")]
