"""Runs a network of prepared weights on the CPU with the C kernel, for one sequence or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from collections.abc import Sequence as Items
from concurrent.futures import ThreadPoolExecutor
from ctypes import Structure, addressof, byref, c_void_p, pointer

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.cpu.kernel import (
    BUFFER_STEP_ROWS,
    Buffers,
    Kernel,
    Layer,
    Matrix,
    Network,
    Sequence,
    address_of,
    instruction_sets,
    padded_vocabulary,
    supports_shape,
)
from mercury_lsp.engine.backends.cpu.layout import LANES
from mercury_lsp.engine.backends.cpu.layout import Matrix as WeightMatrix
from mercury_lsp.engine.backends.cpu.mapping import LIBRARY, kernel_library
from mercury_lsp.engine.backends.cpu.sources import WeightSource
from mercury_lsp.engine.backends.cpu.weights import PreparedWeights
from mercury_lsp.engine.batching import SlotRows
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.system import zero_pages

MAX_THREADS = 15
# Keys and values grow by a multiple of this; a row of the model small takes 23 KB.
KV_STEP_ROWS = 64
# The row cost of CPUs with AVX-512 VNNI; `NativeNetwork.row_cost` measures the cost on this machine.
TYPICAL_ROW_COST = 0.1
# A pass of this many rows, as with a small draft and a canvas, is compared with a pass of one row; how often each is
# timed at most; and the time after which the measurement ends.
COST_ROWS, COST_REPEATS, MAX_COST_SECONDS = 6, 4, 0.25


class NativeKVCache:
    """The keys and values of one sequence by layer, which grow with its rows."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.capacity = 0
        self._keys = self._values = np.empty(0, np.float16)
        self._by_layer = (c_void_p * shape.layers)(), (c_void_p * shape.layers)()

    def grow(self, rows: int) -> None:
        """Make room for at least ``rows`` rows, and keep the present ones."""
        shape, old = self._shape, self.capacity
        if rows <= old:
            return
        capacity = -(-max(rows, old + old // 16) // KV_STEP_ROWS) * KV_STEP_ROWS
        keys = _zero_array(shape.layers, shape.kv_heads, capacity // LANES, shape.head_width, LANES)
        values = _zero_array(shape.layers, shape.kv_heads, capacity, shape.head_width)
        if old:
            keys[:, :, : old // LANES] = self._keys
            values[:, :, :old] = self._values
        self._keys, self._values, self.capacity = keys, values, capacity
        for addresses, arrays in zip(self._by_layer, (keys, values), strict=True):
            addresses[:] = [address_of(layer) for layer in arrays]

    def sequence(self, first: int, rows: int, past: int, mask: NDArray[np.uint8]) -> Sequence:
        """Describe ``rows`` rows of a pass, from row ``first`` on, which follow ``past`` kept rows."""
        keys, values = map(addressof, self._by_layer)
        return Sequence(first, rows, past, self.capacity, address_of(mask), keys, values)


class NativeNetwork:
    """A network of prepared weights on the C kernel.

    ``forbidden``: ids with a score of -inf. ``threads``: from 1 to `MAX_THREADS`.
    """

    def __init__(
        self,
        prepared: PreparedWeights,
        forbidden: Items[int],
        threads: int,
        instructions: str | None = None,
    ) -> None:
        """instructions: one of `instruction_sets`; None for the fastest."""
        library = kernel_library()
        if library is None:
            raise OSError(f"{LIBRARY} cannot be loaded")
        self.threads = min(threads, MAX_THREADS)
        self._kernel = Kernel(library, instructions or instruction_sets()[0])
        self._prepared, self.shape = prepared, prepared.shape
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="mercury-kernel")
        self._allowed = np.zeros(padded_vocabulary(self.shape), np.float32)
        self._allowed[self.shape.vocabulary :] = self._allowed[list(forbidden)] = -np.inf
        self._scores = np.empty((0, len(self._allowed)), np.float32)
        self._layers = (Layer * self.shape.layers)()
        self._network = self._kernel_network()
        self._cosine = self._sine = np.empty((0, self.shape.head_width // 2), np.float32)
        self._buffers = Buffers(
            self.shape, self._kernel, self.threads, BUFFER_STEP_ROWS // 4, BUFFER_STEP_ROWS
        )

    @classmethod
    def of(
        cls,
        source: WeightSource,
        forbidden: Items[int],
        threads: int,
        progress: Callable[[float], None] | None = None,
    ) -> NativeNetwork | None:
        """Load the network of a checkpoint; None if the kernel is not installed or cannot run the network.

        progress: called with the fraction done. Raises `CheckpointError`.
        """
        if not (instruction_sets() and supports_shape(source.shape)):
            return None
        prepared = PreparedWeights.of(source, progress)
        return None if prepared is None else cls(prepared, forbidden, threads)

    def run(self, parts: Items[tuple[Items[int], TokenLayout, int, NativeKVCache]]) -> NDArray[np.float32]:
        """Run one pass over rows of several different sequences, see `Executor.run`.

        Returns the hidden rows of all parts, concatenated, valid until the next run.
        """
        count, keys = 0, 0
        sequences, masks, ids = [], [], list[int]()
        for part_ids, rows, past, cache in parts:
            cache.grow(past + len(part_ids))
            masks.append(attention_mask(rows, rows).astype(np.uint8))
            sequences.append(cache.sequence(count, len(part_ids), past, masks[-1]))
            count, keys = count + len(part_ids), max(keys, past + len(part_ids))
            ids += part_ids
        position = np.concatenate([rows.position for _, rows, _, _ in parts])
        self._extend_rotary_tables(int(position.max()) + 1)
        if not self._buffers.can_hold(count, keys):
            self._buffers = Buffers(self.shape, self._kernel, self.threads, count, keys)
        buffers = self._buffers
        buffers.cosine[:count] = self._cosine[position]
        buffers.sine[:count] = self._sine[position]
        sequence_array = (Sequence * len(sequences))(*sequences)

        def compute() -> None:
            buffers.x[:count] = self._prepared.embed(ids)
            self._on_all_threads(
                self._kernel.run, buffers.make_pass(pointer(self._network), count, sequence_array)
            )

        self._with_intact_weights(compute)
        return buffers.x[:count]

    def scores(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Executor.scores`. The scores are valid until the next call."""
        hidden = np.ascontiguousarray(hidden)
        count = len(hidden)
        # New buffers are safe: `hidden` has more rows than the old ones, so that it is not a part of them.
        if not self._buffers.can_hold(count, 0):
            self._buffers = Buffers(self.shape, self._kernel, self.threads, count, BUFFER_STEP_ROWS)
        if len(self._scores) < count:
            self._scores = np.empty((count, len(self._allowed)), np.float32)
        scores = self._scores[:count]

        def compute() -> None:
            call = self._buffers.make_scores(
                pointer(self._network), count, address_of(hidden), address_of(scores)
            )
            self._on_all_threads(self._kernel.scores, call)

        self._with_intact_weights(compute)
        return scores[:, : self.shape.vocabulary]

    def row_cost(self) -> float:
        """Measure `Executor.row_cost` by the fastest of a few passes, because other programs use the cores, too.

        The first two passes warm up and are not timed. The measurement takes 0.1 s with the model small, and at least
        four passes with any model.
        """
        cache, fastest = NativeKVCache(self.shape), {1: math.inf, COST_ROWS: math.inf}
        started_all = time.perf_counter()
        for repeat in range(1 + COST_REPEATS):
            for count, best in fastest.items():
                started = time.perf_counter()
                self.scores(self.run([(range(count), TokenLayout.clean(0, count), 0, cache)]))
                if repeat:
                    fastest[count] = min(best, time.perf_counter() - started)
            if repeat and time.perf_counter() - started_all > MAX_COST_SECONDS:
                break
        return max(0.01, (fastest[COST_ROWS] / fastest[1] - 1) / (COST_ROWS - 1))

    def _extend_rotary_tables(self, positions: int) -> None:
        """Extend the tables of rotary angles to at least ``positions`` positions."""
        if positions > len(self._cosine):
            self._cosine, self._sine = self.shape.rotary_tables(-(-positions // 1024) * 1024)

    def _with_intact_weights(self, compute: Callable[[], None]) -> None:
        """Call ``compute``, and call it again whenever the weights were lost during the call."""
        compute()
        while self._prepared.restore_if_lost():
            compute()

    def _on_all_threads(self, entry: Callable[..., None], work: Structure) -> None:
        """Call the kernel on all threads; if a thread is not free in time, the others do its share."""
        helpers = [self._pool.submit(entry, byref(work), thread) for thread in range(1, self.threads)]
        entry(byref(work), 0)
        for helper in helpers:
            if not helper.cancel():
                helper.result()

    def _kernel_network(self) -> Network:
        shape, prepared = self.shape, self._prepared
        for i, layer in enumerate(self._layers):
            for name, key in (
                ("qkv", "attention.qkv"),
                ("out", "attention.out"),
                ("gate_up", "gate_up"),
                ("down", "down"),
            ):
                setattr(layer, name, _kernel_matrix(prepared.matrices[f"layers.{i}.{key}.weight"]))
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
            shape.norm_eps,
            self._layers,
            address_of(prepared.vectors["norm.weight"]),
            _kernel_matrix(prepared.output),
            address_of(self._allowed),
        )


class NativeExecutor:
    """An `Executor` for one sequence, on a network that no other executor runs."""

    device = "cpu"

    def __init__(self, network: NativeNetwork, row_cost: float = TYPICAL_ROW_COST) -> None:
        self._network, self.threads, self.row_cost = network, network.threads, row_cost
        self._cache = NativeKVCache(network.shape)

    def run(self, ids: Items[int], rows: TokenLayout, past: int) -> NDArray[np.float32]:
        """See `Executor.run`. The hidden rows are valid until the next run."""
        return self._network.run([(ids, rows, past, self._cache)])

    def scores(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Executor.scores`. The scores are valid until the next call."""
        return self._network.scores(hidden)


class NativeBatch:
    """A `batching.Batch` on the C kernel; the keys and values of each slot grow with use."""

    device = "cpu"

    def __init__(
        self, network: NativeNetwork, memory: int, rows: int, row_cost: float = TYPICAL_ROW_COST
    ) -> None:
        """memory: bytes for the keys and values of all slots; there is at least one slot."""
        self._network, self.threads, self.rows, self.row_cost = network, network.threads, rows, row_cost
        shape = network.shape
        self.bytes_per_slot = 4 * shape.layers * shape.kv_heads * shape.head_width * rows
        self.slots = max(1, memory // self.bytes_per_slot)
        self._caches: dict[int, NativeKVCache] = {}

    def run(self, parts: Items[SlotRows]) -> list[NDArray[np.float32]]:
        """See `batching.Batch.run`."""
        for part in parts:
            if part.slot not in self._caches:
                self._caches[part.slot] = NativeKVCache(self._network.shape)
        hidden = self._network.run(
            [(part.ids, part.rows, part.past, self._caches[part.slot]) for part in parts]
        )
        edges = np.cumsum([len(part.ids) for part in parts])[:-1]
        return np.split(hidden.copy(), edges)

    def scores(self, hidden: Items[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """See `batching.Batch.scores`."""
        parts = list(hidden)
        edges = np.cumsum([len(part) for part in parts])[:-1]
        return np.split(self._network.scores(np.concatenate(parts)).copy(), edges)

    def free(self, slot: int) -> None:
        """See `batching.Batch.free`."""
        self._caches.pop(slot, None)


def _kernel_matrix(matrix: WeightMatrix) -> Matrix:
    """Describe a matrix in the kernel's structure."""
    return Matrix(
        address_of(matrix.levels), address_of(matrix.scales), matrix.outputs, matrix.inputs, matrix.bits
    )


def _zero_array(*size: int) -> NDArray[np.float16]:
    """Allocate an array of zeros whose memory returns to the system when the array is freed."""
    return np.frombuffer(zero_pages(2 * math.prod(size)), np.float16).reshape(size)
