"""Runs passes on CUDA as recorded graphs of a few fixed sizes.

A pass of few rows consists of hundreds of small kernels, and launching them one by one takes longer than running them.
A graph launches all of them at once, but always with the same sizes and addresses. So rows and keys are padded to
buckets, and the inputs of a pass are one small tensor, from which the pass computes its mask on the device. On other
devices the same passes run without recording, so that they can be tested without a GPU. `devices` uses plain PyTorch
until graphs have been measured on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from mercury_lsp.engine.backends.attention import ABSENT_CANVAS, PADDING_CANVAS, TokenLayout, attention_mask
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor

# 96 rows, because the pass over the last chunk of the prompt also makes the first draft.
ROW_BUCKETS = (8, 16, 32, 64, 96)
KEY_BUCKET_ROWS = 256


def rows_bucket(rows: int) -> int:
    """Return the number of rows to which a pass of ``rows`` is padded."""
    return next((size for size in ROW_BUCKETS if size >= rows), -(-rows // ROW_BUCKETS[-1]) * ROW_BUCKETS[-1])


def keys_bucket(keys: int) -> int:
    """Return the number of keys to which a pass with ``keys`` is padded."""
    return -(-keys // KEY_BUCKET_ROWS) * KEY_BUCKET_ROWS


class GraphExecutor(TorchExecutor):
    """A `TorchExecutor` with passes of fixed sizes, for up to ``shape.positions`` rows."""

    def __init__(self, network: Network, forbidden: Sequence[int], device: str, threads: int = 0) -> None:
        super().__init__(network, forbidden, device, threads)
        shape = network.shape
        capacity = keys_bucket(shape.positions + ROW_BUCKETS[-1])
        # The first dimension is for keys and values.
        size = (2, shape.layers, 1, shape.kv_heads, capacity, shape.head_width)
        self._keys_and_values = network.embedding.weight.new_zeros(size)
        self._index = torch.arange(capacity, device=device)
        self._uses_graphs = torch.device(device).type == "cuda"
        self._graphs: dict[tuple[int, int], Callable[[Tensor], Tensor]] = {}

    @torch.inference_mode()
    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Tensor:
        """See `Executor.run`. The hidden rows are valid until the next run."""
        size = rows_bucket(len(ids))
        keys = keys_bucket(past + size)
        # One small asynchronous copy to the device; its memory on the host is not reused.
        inputs = torch.from_numpy(pad_inputs(ids, rows, past, size)).to(self.device, non_blocking=True)
        step = self._graphs.get((size, keys)) if self._uses_graphs else self._step(keys)
        if step is None:
            step = self._graphs[size, keys] = self._record(inputs, keys)
        return step(inputs)[: len(ids)]

    def _step(self, keys: int) -> Callable[[Tensor], Tensor]:
        """Return a function that runs a pass over ``keys`` keys, without synchronization, on `pad_inputs`."""

        def step(inputs: Tensor) -> Tensor:
            ids, *parts, places = inputs  # (B,) each
            rows, index = TokenLayout(*parts), self._index[:keys]
            canvas = torch.where(index < places[0], 0, ABSENT_CANVAS)
            clean = TokenLayout(index, index + 1, canvas, torch.zeros_like(index), index + 1)  # (S,)
            known = (
                getattr(clean, f.name).index_copy(0, places, getattr(rows, f.name))
                for f in fields(TokenLayout)
            )
            mask: Tensor = attention_mask(rows, TokenLayout(*known))[None]  # (1, B, S)
            hidden: Tensor = self.network(
                ids[None], rows.position[None], mask, FixedKVCache(self._keys_and_values, places, keys)
            )
            return hidden[0]

        return step

    def _record(self, inputs: Tensor, keys: int) -> Callable[[Tensor], Tensor]:
        """Record a pass as a graph. The warm-up run writes the same keys and values as the first replay."""
        step, static = self._step(keys), inputs.clone()
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            step(static)
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            hidden = step(static)

        def replay(inputs: Tensor) -> Tensor:
            static.copy_(inputs)
            graph.replay()
            return hidden

        return replay


class FixedKVCache:
    """A KV cache of fixed size; the places to write to are in a tensor on the device."""

    def __init__(self, keys_and_values: Tensor, places: Tensor, keys: int) -> None:
        """keys_and_values: (2, layers, 1, Hkv, rows, D); places: (B,); keys: the number of keys that a pass sees."""
        self._keys_and_values, self._places, self._count = keys_and_values, places, keys

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """See `Past.update`."""
        keys, values = self._keys_and_values[:, layer]
        keys.index_copy_(2, self._places, key)
        values.index_copy_(2, self._places, value)
        return keys[:, :, : self._count], values[:, :, : self._count]


def pad_inputs(ids: Sequence[int], rows: TokenLayout, past: int, size: int) -> np.ndarray:
    """Return the inputs of a pass of ``size`` rows: ids, fields of `TokenLayout`, and places. int64 (7, B)

    Padding rows are written after the other rows, do not see them, and are not seen by them.
    """
    inputs = np.zeros((len(fields(TokenLayout)) + 2, size), np.int64)
    inputs[0, : len(ids)] = ids
    for row, field in zip(inputs[1:], fields(TokenLayout), strict=False):
        row[: len(ids)] = getattr(rows, field.name)
        if field.name == "canvas":
            row[len(ids) :] = PADDING_CANVAS
    inputs[-1] = np.arange(past, past + size)
    return inputs
