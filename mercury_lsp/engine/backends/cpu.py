"""Runs a network of packed weights on the CPU by the C kernel, `kernel/kernel.c`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import Structure, byref, pointer
from math import prod

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.cpu_kernel import (
    BUFFER_STEP_ROWS,
    Buffers,
    Kernel,
    Layer,
    Matrix,
    Network,
    address_of,
    fits,
    instruction_sets,
    padded_vocabulary,
)
from mercury_lsp.engine.backends.cpu_layout import LANES
from mercury_lsp.engine.backends.cpu_layout import Matrix as LaidOut
from mercury_lsp.engine.backends.cpu_sources import WeightSource
from mercury_lsp.engine.backends.cpu_weights import PreparedWeights
from mercury_lsp.engine.backends.mapping import LIBRARY, kernel_library
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.system import zero_pages

MAX_THREADS = 15
# Keys and values grow in this step; a row of the model small takes 23 KB.
KV_STEP_ROWS = 64


def kv_cache_bytes(shape: Shape, rows: int) -> int:
    """The bytes of the keys and values of ``rows`` rows."""
    return (
        2 * 2 * shape.layers * shape.kv_heads * (-(-rows // KV_STEP_ROWS) * KV_STEP_ROWS) * shape.head_width
    )


class NativeExecutor:
    """A network of prepared weights. ``forbidden``: ids with a score of -inf; ``threads``: at least 1."""

    device = "cpu"
    # Eight rows take twice as long as one, so there is one small canvas. Measured on 40 single lines, small, two cores:
    # 5.5 ms a token; 6.1 with a block of 6 tokens, 9.6 with canvases of 6 at each place, 6.0 autoregressive.
    block, canvas_threshold = 3, 1.0

    def __init__(
        self,
        prepared: PreparedWeights,
        forbidden: Sequence[int],
        threads: int,
        instructions: str | None = None,
    ) -> None:
        """instructions: one of `instruction_sets`; None for the fastest."""
        library = kernel_library()
        if library is None:
            raise OSError(f"{LIBRARY} cannot be loaded")
        self.threads = min(threads, MAX_THREADS)
        self._kernel = Kernel(library, instructions or instruction_sets()[0])
        self._prepared, self._shape = prepared, prepared.shape
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="mercury-kernel")
        self._allowed = np.zeros(padded_vocabulary(self._shape), np.float32)
        self._allowed[self._shape.vocabulary :] = self._allowed[list(forbidden)] = -np.inf
        self._scores = np.empty((0, len(self._allowed)), np.float32)
        self._layers = (Layer * self._shape.layers)()
        self._network = self._describe()
        self._cosine = self._sine = np.empty(0, np.float32)
        self._keys = self._values = np.empty(0, np.float16)
        self._grow(BUFFER_STEP_ROWS)
        self._buffers = Buffers(
            self._shape, self._kernel, self.threads, BUFFER_STEP_ROWS // 4, BUFFER_STEP_ROWS
        )

    @classmethod
    def of(
        cls,
        source: WeightSource,
        forbidden: Sequence[int],
        threads: int,
        progress: Callable[[float], None] | None = None,
    ) -> NativeExecutor | None:
        """The executor of a network's weights; None if the kernel is not installed or cannot run the network.

        progress: called with the fraction done. Raises `CheckpointError`.
        """
        if not (instruction_sets() and fits(source.shape)):
            return None
        prepared = PreparedWeights.of(source, progress)
        return None if prepared is None else cls(prepared, forbidden, threads)

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> NDArray[np.float32]:
        """See `Executor.run`. The hidden rows are valid until the next run."""
        count = len(ids)
        if past + count > self._network.capacity:
            self._grow(past + count)
        if not self._buffers.hold(count, past + count):
            self._buffers = Buffers(self._shape, self._kernel, self.threads, count, past + count)
        buffers = self._buffers
        buffers.cosine[:count] = self._cosine[rows.position]
        buffers.sine[:count] = self._sine[rows.position]
        buffers.mask[: count * count] = attention_mask(rows, rows).ravel()

        def compute() -> None:
            buffers.x[:count] = self._prepared.embedded(ids)
            self._on_all_threads(self._kernel.run, buffers.passing(pointer(self._network), count, past))

        self._with_restored_weights(compute)
        return buffers.x[:count]

    def scores(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Executor.scores`. The scores are valid until the next call."""
        hidden = np.ascontiguousarray(hidden)
        count = len(hidden)
        # More rows than in any run, so that `hidden` is a copy and not in the buffers.
        if not self._buffers.hold(count, 0):
            self._buffers = Buffers(self._shape, self._kernel, self.threads, count, BUFFER_STEP_ROWS)
        if len(self._scores) < count:
            self._scores = np.empty((count, len(self._allowed)), np.float32)
        scores = self._scores[:count]

        def compute() -> None:
            scoring = self._buffers.scoring(
                pointer(self._network), count, address_of(hidden), address_of(scores)
            )
            self._on_all_threads(self._kernel.scores, scoring)

        self._with_restored_weights(compute)
        return scores[:, : self._shape.vocabulary]

    def _with_restored_weights(self, compute: Callable[[], None]) -> None:
        """Call ``compute``, again and again if the weights had to be restored meanwhile."""
        compute()
        while self._prepared.restored():
            compute()

    def _on_all_threads(self, entry: Callable[..., None], work: Structure) -> None:
        """Call the kernel from all threads; if a thread is not free in time, the others do its share."""
        helpers = [self._pool.submit(entry, byref(work), thread) for thread in range(1, self.threads)]
        entry(byref(work), 0)
        for helper in helpers:
            if not helper.cancel():
                helper.result()

    def _describe(self) -> Network:
        shape, prepared = self._shape, self._prepared
        for i, layer in enumerate(self._layers):
            for name, key in (
                ("qkv", "attention.qkv"),
                ("out", "attention.out"),
                ("gate_up", "gate_up"),
                ("down", "down"),
            ):
                setattr(layer, name, _described(prepared.matrices[f"layers.{i}.{key}.weight"]))
            for name, key in (
                ("attention_norm", "attention_norm.weight"),
                ("feed_norm", "feed_norm.weight"),
                ("bias", "attention.qkv.bias"),
                ("q_norm", "attention.q_norm.weight"),
                ("k_norm", "attention.k_norm.weight"),
            ):
                vector = prepared.vectors.get(f"layers.{i}.{key}")
                setattr(layer, name, None if vector is None else address_of(vector))
        return Network(
            shape.layers,
            shape.width,
            shape.heads,
            shape.kv_heads,
            shape.head_width,
            shape.hidden,
            0,
            shape.norm_eps,
            self._layers,
            address_of(prepared.vectors["norm.weight"]),
            _described(prepared.output),
            address_of(self._allowed),
        )

    def _grow(self, rows: int) -> None:
        """Make room for the keys and values of at least ``rows`` rows, and keep the old ones."""
        shape, old = self._shape, self._network.capacity
        capacity = -(-max(rows, old + old // 16) // KV_STEP_ROWS) * KV_STEP_ROWS
        keys = _zeros_in_pages(shape.layers, shape.kv_heads, capacity // LANES, shape.head_width, LANES)
        values = _zeros_in_pages(shape.layers, shape.kv_heads, capacity, shape.head_width)
        if old:
            keys[:, :, : old // LANES] = self._keys
            values[:, :, :old] = self._values
        self._keys, self._values, self._network.capacity = keys, values, capacity
        for layer, key, value in zip(self._layers, keys, values, strict=True):
            layer.keys, layer.values = address_of(key), address_of(value)
        self._cosine, self._sine = shape.rotary_tables(capacity)


def _described(matrix: LaidOut) -> Matrix:
    """A matrix as the kernel's structure."""
    return Matrix(
        address_of(matrix.levels), address_of(matrix.scales), matrix.outputs, matrix.inputs, matrix.bits
    )


def _zeros_in_pages(*size: int) -> NDArray[np.float16]:
    """A large array of zeros whose memory returns to the system when it is freed."""
    return np.frombuffer(zero_pages(2 * prod(size)), np.float16).reshape(size)
