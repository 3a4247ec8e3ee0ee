"""Estimates the time of a suggestion on this CPU, before a bidirectional model is used."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.cpu.kernel import instruction_sets, supports_shape
from mercury_lsp.engine.backends.cpu.layout import Matrix
from mercury_lsp.engine.backends.cpu.network import NativeExecutor, NativeNetwork
from mercury_lsp.engine.backends.cpu.sources import WriteWeight
from mercury_lsp.engine.backends.cpu.weights import PreparedWeights, prepare_weights
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.open_models.engine import CANVAS_SIZES
from mercury_lsp.engine.system import default_threads

PROMPT_TOKENS = 768
_ROWS, _PASSES = 64, 4


class _Zeros:
    """A network of one layer with zero weights; the values do not change the time of a pass."""

    shape = Shape(vocabulary=256, width=1024, layers=1, heads=16, kv_heads=4, head_width=64, hidden=4096)
    key = ""

    def bits(self, name: str) -> int:
        return 8

    def writer(self) -> WriteWeight:
        def write(name: str, place: Matrix | NDArray[np.float32]) -> None:
            """Do nothing: the weights are zeros already."""

        return write


def seconds_for(loaded: OpenCheckpoint) -> float | None:
    """Estimate the least time of a suggestion in seconds, for a bidirectional model on the C kernel.

    Such a model reads its whole prompt once for each canvas size that is tried, and more often for long middles.
    Returns None for models that decode from left to right, and if the kernel cannot run the model.
    """
    if loaded.family.left_to_right or not (instruction_sets() and supports_shape(loaded.shape)):
        return None
    reads = 1 if loaded.family.expand else len(CANVAS_SIZES)
    return reads * PROMPT_TOKENS * loaded.shape.parameters / _products_per_second()


def _products_per_second() -> float:
    """Measure the products of weights and activations that the kernel computes in a second."""
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
