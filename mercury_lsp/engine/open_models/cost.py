"""Estimates the time of a suggestion on this processor, before a model that sees both ways is used."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.cpu import NativeExecutor, NativeNetwork
from mercury_lsp.engine.backends.cpu_kernel import fits, instruction_sets
from mercury_lsp.engine.backends.cpu_layout import Matrix
from mercury_lsp.engine.backends.cpu_sources import Put
from mercury_lsp.engine.backends.cpu_weights import PreparedWeights, prepare_weights
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.open_models.engine import CANVAS_SIZES
from mercury_lsp.engine.system import default_threads

PROMPT_TOKENS = 768
_ROWS, _PASSES = 64, 4


class _Zeros:
    """Weights of one layer, all zero: their values do not change the time of a pass."""

    shape = Shape(vocabulary=256, width=1024, layers=1, heads=16, kv_heads=4, head_width=64, hidden=4096)
    key = ""

    def bits(self, name: str) -> int:
        return 8

    def reader(self) -> Put:
        def put(name: str, place: Matrix | NDArray[np.float32]) -> None:
            """Leave the zeros as they are."""

        return put


def seconds_for(loaded: OpenCheckpoint) -> float | None:
    """The least seconds of a suggestion; None if the model keeps its prefix, or if the kernel cannot run it.

    Such a model reads its whole prompt once for each canvas size that is tried, and more often for long middles.
    """
    if loaded.family.left_to_right or not (instruction_sets() and fits(loaded.shape)):
        return None
    reads = 1 if loaded.family.expand else len(CANVAS_SIZES)
    return reads * PROMPT_TOKENS * loaded.shape.parameters / _products_per_second()


def _products_per_second() -> float:
    """Products of a weight and a value that the kernel computes in a second, measured in some milliseconds."""
    source = _Zeros()
    blob = prepare_weights(source)
    assert blob is not None, "zeros are supported"
    executor = NativeExecutor(NativeNetwork(PreparedWeights(source, blob), (), default_threads()))
    rows, times = TokenLayout.clean(0, _ROWS), []
    for _ in range(_PASSES):
        began = time.perf_counter()
        executor.run(range(_ROWS), rows, 0)
        times.append(time.perf_counter() - began)
    matrices = source.shape.parameters - source.shape.vocabulary * source.shape.width
    return _ROWS * matrices / min(times)
