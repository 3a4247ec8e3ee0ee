"""Tests of the KV cache bookkeeping, with an executor that records its calls instead of a network."""

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


class RecordingExecutor:
    device, threads = "cpu", 1

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []  # number of rows, position of the first, cached rows

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Any:
        self.asked.append((len(ids), int(rows.position[0]), past))
        return np.array([[float(i)] for i in ids], np.float32)

    def scores(self, hidden: Any) -> NDArray[np.float32]:
        return np.asarray(hidden, np.float32)


def test_prefill_runs_in_chunks_after_the_cached_rows() -> None:
    passes = CachedModel(noted := RecordingExecutor())
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


def test_rows_are_cached_only_if_they_are_kept_explicitly() -> None:
    passes = CachedModel(noted := RecordingExecutor())
    passes.run([5, 6, 7], TokenLayout.clean(0, 3))
    assert passes.ids == []
    passes.keep([5, 6])
    passes.run([8], TokenLayout.clean(2, 1))
    assert noted.asked == [(3, 0, 0), (1, 2, 2)]


def test_the_longest_common_prefix_is_reused() -> None:
    passes = CachedModel(RecordingExecutor())
    passes.keep([1, 2, 3, 4])
    assert passes.reuse([1, 2, 9, 4, 5]) == 2
    assert passes.ids == [1, 2]
    assert passes.reuse([]) == 0
    assert passes.ids == []


def test_a_cancelled_prefill_keeps_its_finished_chunks() -> None:
    passes = CachedModel(RecordingExecutor())
    looks = iter([False, True])
    with pytest.raises(Cancelled):
        passes.extend(list(range(2 * PREFILL_CHUNK_ROWS)), lambda: next(looks))
    assert passes.ids == list(range(PREFILL_CHUNK_ROWS))
