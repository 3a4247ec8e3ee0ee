"""The executor for processors: a network of packed weights, run by `kernel/kernel.c`.

Owns the kernel's structures, the memory behind them and the threads that run it; the arithmetic is the kernel's, and
the weights' layout `cpu_weights`'s. Knows no tokens but as rows of the embedding, and nothing of torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, Structure, byref, c_float, c_int32, c_size_t, c_void_p, pointer
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.cpu_weights import LANES, Prepared
from mercury_lsp.engine.backends.mapping import LIBRARY, kernel_library
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.system import pages

PART, SLICE, STAGE = 16, 256, 64  # as in the kernel; a stage's bytes
MOST_THREADS = 15
STEP = 512  # rows; the buffers grow by it
ROOM = 64  # rows; what is kept grows by it: of small it takes 23 KB a row

_ENTRIES = ("pass", "scores", "scratch")


class _Matrix(Structure):
    _fields_ = (("levels", c_void_p), ("scales", c_void_p), ("outputs", c_int32), ("inputs", c_int32))


class _Layer(Structure):
    _fields_ = (
        ("qkv", _Matrix),
        ("out", _Matrix),
        ("gate_up", _Matrix),
        ("down", _Matrix),
        ("attention_norm", c_void_p),
        ("feed_norm", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
    )


class _Network(Structure):
    _fields_ = (
        ("layers", c_int32),
        ("width", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("hidden", c_int32),
        ("capacity", c_int32),
        ("epsilon", c_float),
        ("layer", POINTER(_Layer)),
        ("norm", c_void_p),
        ("vocabulary", _Matrix),
        ("allowed", c_void_p),
    )


class _Pass(Structure):
    _fields_ = (
        ("network", POINTER(_Network)),
        ("threads", c_int32),
        ("rows", c_int32),
        ("past", c_int32),
        ("cosine", c_void_p),
        ("sine", c_void_p),
        ("mask", c_void_p),
        ("x", c_void_p),
        ("queries", c_void_p),
        ("mixed", c_void_p),
        ("fed", c_void_p),
        ("mixed_scale", c_void_p),
        ("fed_scale", c_void_p),
        ("mixed_shift", c_void_p),
        ("fed_shift", c_void_p),
        ("scratch", c_void_p),
        ("scratch_bytes", c_size_t),
        ("stages", c_void_p),
    )


class _Scores(Structure):
    _fields_ = (
        ("network", POINTER(_Network)),
        ("threads", c_int32),
        ("rows", c_int32),
        ("hidden", c_void_p),
        ("scores", c_void_p),
        ("peak", c_void_p),
        ("mass", c_void_p),
        ("scratch", c_void_p),
        ("scratch_bytes", c_size_t),
        ("stages", c_void_p),
    )


class _Kernel:
    """The kernel's entries for one instruction set."""

    def __init__(self, library: ctypes.CDLL, instructions: str) -> None:
        self.run, self.scores, self.scratch = (
            getattr(library, f"mercury_{entry}_{instructions}") for entry in _ENTRIES
        )
        self.run.restype = self.scores.restype = None
        self.scratch.restype = c_size_t


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets of this processor that the kernel is compiled for, the fastest first; none where the kernel
    is not installed."""
    library = kernel_library()
    if library is None:
        return ()
    library.mercury_sets.restype = ctypes.c_char_p
    return tuple(library.mercury_sets().decode().split())


def fits(shape: Shape) -> bool:
    """Whether the kernel can run networks of a shape."""
    return (
        shape.plain
        and shape.head_width == 64
        and shape.heads * 64 == shape.width
        and shape.hidden % 64 == 0
        and shape.vocabulary % SLICE == 0
    )


def kept_bytes(shape: Shape, rows: int) -> int:
    """What the keys and values of so many rows take."""
    return 2 * 2 * shape.layers * shape.kv_heads * (-(-rows // ROOM) * ROOM) * shape.head_width


class NativeExecutor:
    """A network of prepared weights. ``forbidden``: ids that no score may choose; ``threads``: 1 at least."""

    device = "cpu"
    # Eight rows take twice as long as one, so a canvas is small, and there is one. Measured on 40 single lines, small,
    # two cores: 5.5 ms a token; 6.1 with a block of 6 tokens, 9.6 with canvases of 6 everywhere, 6.0 autoregressive.
    block, canvas_threshold = 3, 1.0

    def __init__(
        self, prepared: Prepared, forbidden: Sequence[int], threads: int, instructions: str | None = None
    ) -> None:
        """instructions: one of `instruction_sets`; None takes the fastest."""
        library = kernel_library()
        if library is None:
            raise OSError(f"{LIBRARY} cannot be loaded")
        self.threads = min(threads, MOST_THREADS)
        self._kernel = _Kernel(library, instructions or instruction_sets()[0])
        self._prepared, self._shape = prepared, prepared.shape
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="mercury-kernel")
        self._allowed = np.zeros(self._shape.vocabulary, np.float32)
        self._allowed[list(forbidden)] = -np.inf
        self._scores = np.empty((0, self._shape.vocabulary), np.float32)
        self._layers = (_Layer * self._shape.layers)()
        self._network = self._describe()
        self._cosine = self._sine = np.empty(0, np.float32)
        self._keys = self._values = np.empty(0, np.float16)
        self._grow(STEP)
        self._buffers = _Buffers(self._shape, self._kernel, self.threads, STEP // 4, STEP)

    @classmethod
    def of(
        cls, loaded: Checkpoint, threads: int, progress: Callable[[float], None] | None = None
    ) -> NativeExecutor | None:
        """The executor of a checkpoint; None where the kernel is not installed or cannot run its network.

        progress: called with the fraction done. Raises `CheckpointError`.
        """
        if not (instruction_sets() and fits(loaded.shape)):
            return None
        prepared = Prepared.of(loaded, progress)
        return None if prepared is None else cls(prepared, loaded.tokenizer.hidden, threads)

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> NDArray[np.float32]:
        """See `Executor.run`. The hidden rows last until the next run."""
        count = len(ids)
        if past + count > self._network.capacity:
            self._grow(past + count)
        if not self._buffers.hold(count, past + count):
            self._buffers = _Buffers(self._shape, self._kernel, self.threads, count, past + count)
        buffers = self._buffers
        buffers.cosine[:count] = self._cosine[rows.position]
        buffers.sine[:count] = self._sine[rows.position]
        buffers.mask[: count * count] = attention_mask(rows, rows).ravel()

        def compute() -> None:
            buffers.x[:count] = self._prepared.embedded(ids)
            self._together(self._kernel.run, buffers.passing(pointer(self._network), count, past))

        self._soundly(compute)
        return buffers.x[:count]

    def scores(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Executor.scores`. They last until the next ones."""
        hidden = np.ascontiguousarray(hidden)
        count = len(hidden)
        if not self._buffers.hold(count, 0):  # more rows than any run has had, so that they are copies
            self._buffers = _Buffers(self._shape, self._kernel, self.threads, count, STEP)
        if len(self._scores) < count:
            self._scores = np.empty((count, self._shape.vocabulary), np.float32)
        scores = self._scores[:count]

        def compute() -> None:
            scoring = self._buffers.scoring(pointer(self._network), count, _at(hidden), _at(scores))
            self._together(self._kernel.scores, scoring)

        self._soundly(compute)
        return scores

    def _soundly(self, compute: Callable[[], None]) -> None:
        """Compute something, and again where the weights had to be restored meanwhile."""
        compute()
        while self._prepared.restored():
            compute()

    def _together(self, entry: Callable[..., None], work: Structure) -> None:
        """Call the kernel from all threads. One that is not free in time is not waited for: the others do its share."""
        helpers = [self._pool.submit(entry, byref(work), thread) for thread in range(1, self.threads)]
        entry(byref(work), 0)
        for helper in helpers:
            if not helper.cancel():
                helper.result()

    def _describe(self) -> _Network:
        shape, prepared = self._shape, self._prepared
        for i, layer in enumerate(self._layers):
            for name, key in (
                ("qkv", "attention.qkv"),
                ("out", "attention.out"),
                ("gate_up", "gate_up"),
                ("down", "down"),
            ):
                setattr(layer, name, self._matrix(f"layers.{i}.{key}.weight"))
            for name in ("attention_norm", "feed_norm"):
                setattr(layer, name, _at(prepared.vectors[f"layers.{i}.{name}.weight"]))
        return _Network(
            shape.layers,
            shape.width,
            shape.heads,
            shape.kv_heads,
            shape.hidden,
            0,
            shape.norm_eps,
            self._layers,
            _at(prepared.vectors["norm.weight"]),
            self._matrix("embedding.weight"),
            _at(self._allowed),
        )

    def _matrix(self, name: str) -> _Matrix:
        matrix = self._prepared.matrices[name]
        return _Matrix(_at(matrix.levels), _at(matrix.scales), matrix.outputs, matrix.inputs)

    def _grow(self, rows: int) -> None:
        """Make room for the keys and values of at least so many rows, and keep what is there."""
        shape, had = self._shape, self._network.capacity
        capacity = -(-max(rows, had + had // 16) // ROOM) * ROOM
        keys = _kept(shape.layers, shape.kv_heads, capacity // LANES, 64, LANES)
        values = _kept(shape.layers, shape.kv_heads, capacity, 64)
        if had:
            keys[:, :, : had // LANES] = self._keys
            values[:, :, :had] = self._values
        self._keys, self._values, self._network.capacity = keys, values, capacity
        for layer, key, value in zip(self._layers, keys, values, strict=True):
            layer.keys, layer.values = _at(key), _at(value)
        power = np.arange(0, 64, 2) / 64
        angle = np.outer(np.arange(capacity), shape.rope_theta**-power)  # (capacity, D / 2)
        self._cosine, self._sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


class _Buffers:
    """What passes of up to ``rows`` rows with ``keys`` keys work in."""

    def __init__(self, shape: Shape, kernel: _Kernel, threads: int, rows: int, keys: int) -> None:
        self._rows, self._keys, self._threads = rows, -(-keys // STEP) * STEP, threads
        parts = {"mixed": shape.width // PART, "fed": shape.hidden // PART}
        self.x = np.empty((rows, shape.width), np.float32)
        self.cosine, self.sine = (np.empty((rows, 32), np.float32) for _ in range(2))
        self.mask = np.empty(rows * rows, np.uint8)
        self._queries = np.empty((rows, shape.width), np.float32)
        self._rounded = {
            name: (
                np.empty((rows, own * PART), np.int8),
                np.empty((rows, own), np.float32),
                np.empty((rows, own), np.float32),
            )
            for name, own in parts.items()
        }
        slices = shape.vocabulary // SLICE
        self._peak, self._mass = (np.empty((slices, rows), np.float32) for _ in range(2))
        self._bytes = kernel.scratch(shape.width, rows, self._keys)
        self._scratch = _aligned(self._bytes * threads)
        self._stages = _aligned(STAGE * max(2, 5 * shape.layers))

    def hold(self, rows: int, keys: int) -> bool:
        """Whether they are large enough."""
        return rows <= self._rows and keys <= self._keys

    def passing(self, network: Any, rows: int, past: int) -> _Pass:
        """A pass in these buffers, to be run once."""
        self._stages[:] = 0
        (mixed, mixed_scale, mixed_shift), (fed, fed_scale, fed_shift) = self._rounded.values()
        return _Pass(
            network,
            self._threads,
            rows,
            past,
            *map(_at, (self.cosine, self.sine, self.mask, self.x, self._queries, mixed, fed)),
            *map(_at, (mixed_scale, fed_scale, mixed_shift, fed_shift, self._scratch)),
            self._bytes,
            _at(self._stages),
        )

    def scoring(self, network: Any, rows: int, hidden: int, scores: int) -> _Scores:
        """The scoring of rows in these buffers, to be run once; ``hidden``, ``scores``: addresses."""
        self._stages[:] = 0
        return _Scores(
            network,
            self._threads,
            rows,
            hidden,
            scores,
            *map(_at, (self._peak, self._mass, self._scratch)),
            self._bytes,
            _at(self._stages),
        )


def _kept(*size: int) -> NDArray[np.float16]:
    """An array of zeros that is kept for long, and is large."""
    return np.frombuffer(pages(2 * prod(size)), np.float16).reshape(size)


def _at(array: Any) -> int:
    return int(array.ctypes.data)


def _aligned(size: int) -> NDArray[np.uint8]:
    """Bytes that start at a line of the processor's cache."""
    room = np.zeros(size + 64, np.uint8)
    return room[-_at(room) % 64 :][:size]
