"""Passes over an executor that notes what it is asked: the cache's book-keeping, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mercury_lsp.engine.api import never_cancelled
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.kv_cache import PREFILL_CHUNK_ROWS, CachedModel
from mercury_lsp.engine.worker import Cancelled


class Noted:
    device, threads = "cpu", 1

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []  # rows, of which the first's position, behind how many

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Any:
        self.asked.append((len(ids), int(rows.position[0]), past))
        return np.array([[float(i)] for i in ids], np.float32)

    def scores(self, hidden: Any) -> NDArray[np.float32]:
        return np.asarray(hidden, np.float32)


def test_reading_is_in_chunks_each_behind_what_is_kept() -> None:
    passes = CachedModel(noted := Noted())
    ids = list(range(2 * PREFILL_CHUNK_ROWS + 3))
    last = passes.extend(ids, never_cancelled)
    assert noted.asked == [
        (PREFILL_CHUNK_ROWS, 0, 0),
        (PREFILL_CHUNK_ROWS, PREFILL_CHUNK_ROWS, PREFILL_CHUNK_ROWS),
        (3, 2 * PREFILL_CHUNK_ROWS, 2 * PREFILL_CHUNK_ROWS),
    ]
    assert passes.scores(last).tolist() == [[ids[-1]]]
    assert passes.ids == ids
    assert passes.extend([], never_cancelled) is None


def test_what_is_run_is_kept_only_where_one_says_so() -> None:
    passes = CachedModel(noted := Noted())
    passes.run([5, 6, 7], TokenLayout.clean(0, 3))
    assert passes.ids == []
    passes.keep([5, 6])
    passes.run([8], TokenLayout.clean(2, 1))
    assert noted.asked == [(3, 0, 0), (1, 2, 2)]


def test_the_longest_common_start_is_used_again() -> None:
    passes = CachedModel(Noted())
    passes.keep([1, 2, 3, 4])
    assert passes.reuse([1, 2, 9, 4, 5]) == 2
    assert passes.ids == [1, 2]
    assert passes.reuse([]) == 0
    assert passes.ids == []


def test_a_cancelled_reading_keeps_what_it_read() -> None:
    passes = CachedModel(Noted())
    looks = iter([False, True])
    with pytest.raises(Cancelled):
        passes.extend(list(range(2 * PREFILL_CHUNK_ROWS)), lambda: next(looks))
    assert passes.ids == list(range(PREFILL_CHUNK_ROWS))
