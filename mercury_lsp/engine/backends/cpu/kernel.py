"""Declares the C kernel's structures, functions and buffers for ctypes."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_float, c_int32, c_size_t, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.cpu.mapping import kernel_library
from mercury_lsp.engine.checkpoints.shape import Shape

# Constants of kernel.c.
PART, HALF, SLICE, STAGE_BYTES = 16, 32, 256, 64
# The buffers hold a multiple of this number of keys.
BUFFER_STEP_ROWS = 512

_ENTRIES = ("pass", "scores", "scratch")


class Matrix(Structure):
    """A matrix of prepared weights."""

    _fields_ = (
        ("levels", c_void_p),
        ("scales", c_void_p),
        ("outputs", c_int32),
        ("inputs", c_int32),
        ("bits", c_int32),
    )


class Layer(Structure):
    """The weights of one layer."""

    _fields_ = (
        ("qkv", Matrix),
        ("out", Matrix),
        ("gate_up", Matrix),
        ("down", Matrix),
        ("attention_norm", c_void_p),
        ("feed_norm", c_void_p),
        ("bias", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
    )


class Network(Structure):
    """The weights and sizes of a network."""

    _fields_ = (
        ("layers", c_int32),
        ("width", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head", c_int32),
        ("hidden", c_int32),
        ("epsilon", c_float),
        ("layer", POINTER(Layer)),
        ("norm", c_void_p),
        ("vocabulary", Matrix),
        ("allowed", c_void_p),
    )


class Sequence(Structure):
    """The rows of a pass that belong to one sequence, with the addresses of its keys and values by layer."""

    _fields_ = (
        ("first", c_int32),
        ("rows", c_int32),
        ("past", c_int32),
        ("capacity", c_int32),
        ("mask", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
    )


class Pass(Structure):
    """The inputs and buffers of one pass."""

    _fields_ = (
        ("network", POINTER(Network)),
        ("threads", c_int32),
        ("rows", c_int32),
        ("sequences", c_int32),
        ("sequence", POINTER(Sequence)),
        ("cosine", c_void_p),
        ("sine", c_void_p),
        ("x", c_void_p),
        ("queries", c_void_p),
        ("mixed", c_void_p),
        ("fed", c_void_p),
        ("mixed_scale", c_void_p),
        ("fed_scale", c_void_p),
        ("mixed_total", c_void_p),
        ("fed_total", c_void_p),
        ("scratch", c_void_p),
        ("scratch_bytes", c_size_t),
        ("stages", c_void_p),
    )


class Scores(Structure):
    """The inputs and buffers of one call for scores."""

    _fields_ = (
        ("network", POINTER(Network)),
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


class Kernel:
    """The kernel's functions for one instruction set."""

    def __init__(self, library: ctypes.CDLL, instructions: str) -> None:
        self.run, self.scores, self.scratch = (
            getattr(library, f"mercury_{entry}_{instructions}") for entry in _ENTRIES
        )
        self.run.restype = self.scores.restype = None
        self.scratch.restype = c_size_t


def instruction_sets() -> tuple[str, ...]:
    """Return the kernel's instruction sets that this CPU supports, fastest first; none without the kernel."""
    library = kernel_library()
    if library is None:
        return ()
    library.mercury_sets.restype = ctypes.c_char_p
    return tuple(library.mercury_sets().decode().split())


def supports_shape(shape: Shape) -> bool:
    """Return whether the kernel supports the sizes of a network."""
    return shape.head_width in (64, 128) and shape.width % 64 == 0 and shape.hidden % 64 == 0


def padded_vocabulary(shape: Shape) -> int:
    """Return the number of rows of the kernel's output matrix: the vocabulary, padded to whole slices."""
    return -(-shape.vocabulary // SLICE) * SLICE


class Buffers:
    """The buffers of passes of up to ``rows`` rows with ``keys`` keys."""

    def __init__(self, shape: Shape, kernel: Kernel, threads: int, rows: int, keys: int) -> None:
        self._rows, self._keys, self._threads = rows, -(-keys // BUFFER_STEP_ROWS) * BUFFER_STEP_ROWS, threads
        inner = shape.heads * shape.head_width
        self.x = np.empty((rows, shape.width), np.float32)
        self.cosine, self.sine = (np.empty((rows, shape.head_width // 2), np.float32) for _ in range(2))
        self._queries = np.empty((rows, inner), np.float32)
        self._rounded = tuple(
            (
                np.empty((rows, columns), np.int8),
                np.empty((rows, columns // PART), np.float32),
                np.empty((rows, columns // HALF), np.float32),
            )
            for columns in (inner, shape.hidden)
        )
        slices = padded_vocabulary(shape) // SLICE
        self._peak, self._mass = (np.empty((slices, rows), np.float32) for _ in range(2))
        self._bytes = kernel.scratch(shape.width, rows, self._keys)
        self._scratch = _cache_aligned(self._bytes * threads)
        self._stages = _cache_aligned(STAGE_BYTES * max(2, 5 * shape.layers))

    def can_hold(self, rows: int, keys: int) -> bool:
        """Return whether the buffers are large enough for a pass."""
        return rows <= self._rows and keys <= self._keys

    def make_pass(self, network: Any, rows: int, sequences: Any) -> Pass:
        """Describe one pass over an array of `Sequence` in these buffers."""
        self._stages[:] = 0
        (mixed, mixed_scale, mixed_total), (fed, fed_scale, fed_total) = self._rounded
        return Pass(
            network,
            self._threads,
            rows,
            len(sequences),
            sequences,
            *map(address_of, (self.cosine, self.sine, self.x, self._queries, mixed, fed)),
            *map(address_of, (mixed_scale, fed_scale, mixed_total, fed_total, self._scratch)),
            self._bytes,
            address_of(self._stages),
        )

    def make_scores(self, network: Any, rows: int, hidden: int, scores: int) -> Scores:
        """Describe one call for scores in these buffers; ``hidden``, ``scores``: addresses."""
        self._stages[:] = 0
        return Scores(
            network,
            self._threads,
            rows,
            hidden,
            scores,
            *map(address_of, (self._peak, self._mass, self._scratch)),
            self._bytes,
            address_of(self._stages),
        )


def address_of(array: Any) -> int:
    """Return the memory address of an array's data."""
    return int(array.ctypes.data)


def _cache_aligned(size: int) -> NDArray[np.uint8]:
    """Allocate zero bytes at an address that is a multiple of a cache line."""
    buffer = np.zeros(size + 64, np.uint8)
    return buffer[-address_of(buffer) % 64 :][:size]
