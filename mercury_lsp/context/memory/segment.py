"""Sorts the token positions of files by the tokens before them, so that a context is found by bisection.

This is a suffix array over the reversed text, similar to infini-gram (Liu et al. 2024): positions whose contexts agree
in their last tokens are adjacent, so the longest match of a context is next to the place where the context would be
inserted. Contexts are compared as big-endian bytes, whose order is that of their tokens.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.mixture import CONTEXT_TOKENS

Ids = NDArray[np.unsignedinteger]
"""Token ids (n,), uint16 or uint32 throughout one index."""

NEAR_POSITIONS = 16
"""The first stride of a search that starts near its target."""
FEW = 8
"""The largest number of tokens that is faster to read one by one than by numpy."""


def dtype_for(vocabulary: int) -> np.dtype[np.unsignedinteger]:
    """Return the dtype for the ids of a vocabulary, whose largest value is the separator between texts."""
    return np.dtype(np.uint16 if vocabulary < 2**16 else np.uint32)


@dataclass(frozen=True, slots=True)
class Key:
    """The last ``tokens`` tokens of a context, the last one first, in the form that a segment compares.

    ``data``: big-endian bytes; ``number``: the same as an integer, padded to `CONTEXT_TOKENS`.
    """

    data: bytes
    tokens: int
    number: int

    @classmethod
    def of(cls, context: Sequence[int], width: int) -> Key:
        """Make the key of a context. ``width``: bytes per id."""
        last = context[: -CONTEXT_TOKENS - 1 : -1]
        data = np.array(last, f">u{width}").tobytes()
        return cls(data, len(last), int.from_bytes(data.ljust(CONTEXT_TOKENS * width, b"\0")))

    def shared(self, data: bytes, width: int) -> int:
        """Return the number of tokens that the key and a reversed text have in common from their start."""
        size = CONTEXT_TOKENS * width
        differing = (int.from_bytes(data.ljust(size, b"\0")) ^ self.number).bit_length()
        return min(self.tokens, (8 * size - differing) // (8 * width))


class Segment:
    """An immutable index of the tokens of files. No context matches across the end of a file.

    A token takes two bytes (uint16) or four (uint32) in the text, and four bytes in the order of the positions.
    """

    def __init__(
        self, paths: Sequence[str], starts: NDArray[np.int64], text: bytes, order: NDArray[np.int32]
    ):
        """Make a segment of sorted positions; `build` sorts them.

        ``starts`` (files + 1,): the start of each file in the unreversed text, and the text's length. ``text``: all
        tokens reversed, big-endian, each file between separators. ``order``: indices of the reversed text at which
        contexts begin, sorted by context; the token before such an index followed the context.
        """
        self.paths = tuple(paths)
        self._starts, self.text, self._order = starts, text, order
        self.tokens = int(starts[-1]) if len(starts) else 0
        self.width = len(text) // max(1, self.tokens)
        width, size = self.width, CONTEXT_TOKENS * self.width
        self._context: Callable[[int], bytes] = lambda at: text[at * width : at * width + size]
        # The items of a memoryview are plain integers, which are faster than numpy's.
        self._places = order.data
        self.places = len(order)
        self._reverse = np.frombuffer(text, f">u{self.width}")
        self.separator = 256**self.width - 1
        self._without: tuple[frozenset[str], Segment] | None = None

    @classmethod
    def build(cls, files: Iterable[tuple[str, Ids]], dtype: np.dtype[np.unsignedinteger]) -> Segment:
        """Index files, given as paths and ids. Takes about a second per million tokens, and 40 bytes per token."""
        separator = np.array([np.iinfo(dtype).max], dtype)
        parts, paths, starts, at = [separator], [], [], 1
        for path, ids in files:
            parts += [ids.astype(dtype, copy=False), separator]
            paths.append(path)
            starts.append(at)
            at += len(ids) + 1
        reverse = np.concatenate(parts)[::-1]
        text = reverse.astype(dtype.newbyteorder(">")).tobytes()
        return cls(paths, np.array([*starts, at], np.int64), text, _sorted(reverse))

    def count(self, paths: Collection[str]) -> int:
        """Return the number of tokens of some of the files."""
        numbers = [self.numbers[path] for path in paths]
        return int((self._starts[1:] - self._starts[:-1])[numbers].sum()) if numbers else 0

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each file by its path."""
        return {path: number for number, path in enumerate(self.paths)}

    def ids(self, number: int) -> Ids:
        """Return the ids (n,) of a file by its number."""
        start, end = int(self._starts[number]), int(self._starts[number + 1]) - 1
        found = self._reverse[self.tokens - end : self.tokens - start][::-1]
        return found.astype(found.dtype.newbyteorder("="))

    def without(self, paths: Collection[str]) -> Segment:
        """Return the index without the positions of some files. The last result is cached.

        Takes some milliseconds for a million tokens.
        """
        gone = frozenset(path for path in paths if path in self.numbers)
        if not gone:
            return self
        kept = self._without
        if kept is None or kept[0] != gone:
            kept = self._without = gone, self._filtered(gone)
        return kept[1]

    def _filtered(self, gone: Iterable[str]) -> Segment:
        keep = np.ones(len(self._order), bool)
        for path in gone:
            # An index `at` of the reversed text corresponds to `tokens - at` in the unreversed text.
            number = self.numbers[path]
            first, end = self.tokens - self._starts[number : number + 2]
            keep &= (self._order > first) | (self._order <= end)
        return Segment(self.paths, self._starts, self.text, np.ascontiguousarray(self._order[keep]))

    def place(self, key: Key) -> int:
        """Return the place in the order at which a context would be inserted."""
        return bisect_left(self._places, key.data, key=self._context)

    def shared(self, place: int, key: Key) -> int:
        """Return the number of tokens that the context at a place shares with a key; 0 outside of the order."""
        if not 0 <= place < len(self._places):
            return 0
        return key.shared(self._context(self._places[place]), self.width)

    def span(self, first: int, end: int, key: Key, length: int) -> tuple[int, int]:
        """Return the half-open range of places whose contexts share ``length`` tokens with a key.

        It must include the range from ``first`` to ``end``.
        """
        low = key.data[: length * self.width]
        high = low + b"\xff" * (CONTEXT_TOKENS * self.width - len(low))
        return self._first(low, first), self._last(high, end)

    def _first(self, data: bytes, before: int) -> int:
        """Return the first place whose context is not less than `data`.

        The search goes back from `before` in growing strides, because the place is mostly near.
        """
        step, high = NEAR_POSITIONS, before
        while (low := high - step) > 0 and self._context(self._places[low]) >= data:
            high, step = low, step * step
        return bisect_left(self._places, data, max(0, low), high, key=self._context)

    def _last(self, data: bytes, after: int) -> int:
        """Return the first place from `after` on whose context is greater than `data`."""
        step, low = NEAR_POSITIONS, after
        while (high := low + step) < self.places and self._context(self._places[high]) <= data:
            low, step = high, step * step
        return bisect_right(self._places, data, low, min(high, self.places), key=self._context)

    def indices(self, first: int, end: int, most: int) -> NDArray[np.int32]:
        """Return the indices of the reversed text for a range of places, or at most `most` of them, evenly spaced."""
        return self._order[first : end : max(1, -(-(end - first) // most))]

    def tokens_at(self, indices: NDArray[np.integer]) -> list[int]:
        """Return the id that followed each context: the one before its index, or the separator at an end."""
        if len(indices) > FEW:
            return cast(list[int], self._reverse[indices - 1].tolist())
        text, width = self.text, self.width
        return [int.from_bytes(text[(at - 1) * width : at * width]) for at in indices.tolist()]

    def path(self, at: int) -> str:
        """Return the path of the file of an index of the reversed text."""
        return self.paths[int(np.searchsorted(self._starts, self.tokens - at, "right")) - 1]


def _sorted(reverse: Ids) -> NDArray[np.int32]:
    """Sort the indices of a reversed text at which contexts begin by `CONTEXT_TOKENS` tokens from there.

    Prefix doubling (Manber and Myers 1990): the order by 2k tokens is the order by pairs of ranks by k tokens. The
    first ranks are tokens packed into eight bytes.
    """
    separator, bits = np.iinfo(reverse.dtype).max, reverse.dtype.itemsize * 8
    known = 64 // bits
    padded = np.concatenate([reverse, np.zeros(known, reverse.dtype)]).astype(np.uint64)
    rank = np.zeros(len(reverse), np.uint64)
    for place in range(known):
        rank |= padded[place : place + len(reverse)] << np.uint64(64 - bits * (place + 1))
    order = np.argsort(rank)
    while known < CONTEXT_TOKENS:
        ordered = rank[order]
        dense = np.empty(len(rank), np.uint64)
        dense[order] = np.cumsum(np.concatenate([[False], ordered[1:] != ordered[:-1]]), dtype=np.uint64)
        if dense.max(initial=0) == len(rank) - 1:
            break
        rank = dense << np.uint64(32)
        rank[:-known] |= dense[known:]
        order = np.argsort(rank)
        known *= 2
    # A token must have followed, and the context must not be empty.
    useful = (reverse[order] != separator) & (order > 0)
    useful &= reverse[order - 1] != separator
    return np.asarray(order[useful], np.int32)
