"""The executor for CUDA: passes of a few fixed sizes, each recorded once as a graph and replayed.

A pass of few rows is hundreds of small kernels, whose launches one by one take longer than they do. A graph launches
them at once, but with the same sizes and addresses each time: so rows are padded to a bucket of rows and keys to one
of keys, and all that differs between passes is one small tensor, from which the pass works out its mask on the device.
Owns the buckets, the padding and the recordings. On another device the same passes run without being recorded, which
is how they are tested where there is no GPU. `devices` chooses plain torch until this has been measured on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor

ROWS = (8, 16, 32, 64, 96)  # a pass of the prompt's last chunk also makes the first draft
KEYS = 256
NOBODY = -1  # the canvas of a key that is not there
PADDING = 1 << 20  # the canvas of the rows that fill a bucket: they see one another only


def rows_bucket(rows: int) -> int:
    """How many rows a pass of ``rows`` is padded to."""
    return next((size for size in ROWS if size >= rows), -(-rows // ROWS[-1]) * ROWS[-1])


def keys_bucket(keys: int) -> int:
    """How many keys a pass that needs ``keys`` looks at."""
    return -(-keys // KEYS) * KEYS


class GraphExecutor(TorchExecutor):
    """As `TorchExecutor`, in passes of fixed sizes. Up to ``shape.positions`` rows are kept."""

    def __init__(self, network: Network, forbidden: Sequence[int], device: str, threads: int = 0) -> None:
        super().__init__(network, forbidden, device, threads)
        shape = network.shape
        room = keys_bucket(shape.positions + ROWS[-1])
        size = (2, shape.layers, 1, shape.kv_heads, room, shape.head_width)  # keys and values
        self._room = network.embedding.weight.new_zeros(size)
        self._index = torch.arange(room, device=device)
        self._records = torch.device(device).type == "cuda"
        self._recorded: dict[tuple[int, int], Callable[[Tensor], Tensor]] = {}

    @torch.inference_mode()
    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Tensor:
        """See `Executor.run`. The hidden rows last until the next run."""
        size = rows_bucket(len(ids))
        keys = keys_bucket(past + size)
        # In one copy to the device, which does not wait for it: it is small, and its memory is not used again.
        given = torch.from_numpy(padded(ids, rows, past, size)).to(self.device, non_blocking=True)
        step = self._recorded.get((size, keys)) if self._records else self._step(keys)
        if step is None:
            step = self._recorded[size, keys] = self._record(given, keys)
        return step(given)[: len(ids)]

    def _step(self, keys: int) -> Callable[[Tensor], Tensor]:
        """A pass over the first ``keys`` keys, given what `padded` tells; nothing in it waits for the device."""

        def step(given: Tensor) -> Tensor:
            ids, *parts, places = given  # (B,) each
            rows, index = TokenLayout(*parts), self._index[:keys]
            there = torch.where(index < places[0], 0, NOBODY)
            clean = TokenLayout(
                index, index + 1, there, torch.zeros_like(index), index + 1
            )  # (S,) the kept ones
            known = (
                getattr(clean, f.name).index_copy(0, places, getattr(rows, f.name))
                for f in fields(TokenLayout)
            )
            mask: Tensor = attention_mask(rows, TokenLayout(*known))[None]  # (1, B, S)
            hidden: Tensor = self.network(
                ids[None], rows.position[None], mask, Fixed(self._room, places, keys)
            )
            return hidden[0]

        return step

    def _record(self, given: Tensor, keys: int) -> Callable[[Tensor], Tensor]:
        """The pass as a graph. To run it beforehand, as recording asks for, writes what the first replay writes."""
        step, static = self._step(keys), given.clone()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            step(static)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            hidden = step(static)

        def replay(given: Tensor) -> Tensor:
            static.copy_(given)
            graph.replay()
            return hidden

        return replay


class Fixed:
    """Keys and values of one size, of which a tensor on the device tells the places to write to."""

    def __init__(self, room: Tensor, places: Tensor, keys: int) -> None:
        """room: (2, layers, 1, Hkv, room, D); places: (B,); keys: how many are looked at."""
        self._room, self._places, self._count = room, places, keys

    def join(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """See `Past.join`."""
        keys, values = self._room[:, layer]
        keys.index_copy_(2, self._places, key)
        values.index_copy_(2, self._places, value)
        return keys[:, :, : self._count], values[:, :, : self._count]


def padded(ids: Sequence[int], rows: TokenLayout, past: int, size: int) -> np.ndarray:
    """What differs between two passes of ``size`` rows: their ids, the fields of `TokenLayout`, and their places.
    int64 (7, B)

    The rows that fill up are written behind the others, see none of these, and are seen by none.
    """
    given = np.zeros((len(fields(TokenLayout)) + 2, size), np.int64)
    given[0, : len(ids)] = ids
    for row, field in zip(given[1:], fields(TokenLayout), strict=False):
        row[: len(ids)] = getattr(rows, field.name)
        if field.name == "canvas":
            row[len(ids) :] = PADDING
    given[-1] = np.arange(past, past + size)
    return given
