"""A batch of several sessions' rows as one forward pass of torch's network.

The rows of all sessions lie one behind the other for the linear layers, where nothing is padded; only attention sees
sessions, as (N, H, T, D) padded to the most rows and keys that one of them has. Keys and values are kept in slots of
one buffer, whose size never changes. All that differs between passes reaches the device as one small array, from which
the mask is worked out there by the one rule of `attention`. Owns that buffer and the padding; knows neither tokens nor
threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.network import Network, folded
from mercury_lsp.engine.batching import Part

NOBODY = -1  # the canvas of a key that is not there
PADDING = 1 << 20  # the canvas of a row that fills up; none of a session has that many
FIELDS = [field.name for field in fields(TokenLayout)]


class BatchedNetwork:
    """See `batching.Batch`. ``forbidden``: ids that no score may choose; ``threads``: 0 leaves torch's setting."""

    block, canvas_threshold = 6, 0.0

    def __init__(
        self,
        network: Network,
        forbidden: Sequence[int],
        device: str,
        slots: int,
        rows: int,
        threads: int = 0,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device, self.threads, self.slots, self.rows = device, torch.get_num_threads(), slots, rows
        self.network = network.to(device)
        self._forbidden = torch.tensor(forbidden, device=device)
        shape, weight = network.shape, network.embedding.weight
        size = (2, shape.layers, slots, shape.kv_heads, rows, shape.head_width)
        self._kept = weight.new_zeros(size)  # keys and values
        self.bytes_each = self._kept[:, :, 0].nbytes

    @classmethod
    def of(
        cls,
        network: Network,
        forbidden: Sequence[int],
        device: str,
        memory: int,
        rows: int,
        threads: int = 0,
    ) -> BatchedNetwork:
        """With as many slots of ``rows`` rows as fit into ``memory`` bytes, one at least."""
        shape = network.shape
        each = 2 * shape.layers * shape.kv_heads * rows * shape.head_width * network.embedding.weight.itemsize
        return cls(network, forbidden, device, max(1, memory // each), rows, threads)

    @torch.inference_mode()
    def run(self, parts: Sequence[Part]) -> Sequence[Tensor]:
        """See `slots.Batch.run`."""
        batch = self._batch(parts)
        hidden: Tensor = self.network(batch.ids[None], batch.position[None], batch, batch, attend)
        edges = accumulate((len(part.ids) for part in parts), initial=0)
        return [hidden[0, first:last] for first, last in pairwise(edges)]

    @torch.inference_mode()
    def scores(self, hidden: Sequence[Tensor]) -> Sequence[NDArray[np.float32]]:
        """See `slots.Batch.scores`."""
        logits = self.network.logits(torch.cat(list(hidden))).float()  # (n, V)
        scores = logits.index_fill(-1, self._forbidden, -torch.inf).log_softmax(-1).cpu().numpy()
        return np.split(scores, np.cumsum([len(own) for own in hidden])[:-1])

    def _batch(self, parts: Sequence[Part]) -> _Batch:
        n, longest = len(parts), max(len(part.ids) for part in parts)
        keys = max(part.past + len(part.ids) for part in parts)
        given = np.zeros((len(FIELDS) + 4, n, longest), np.int64)
        given[1 + FIELDS.index("canvas")] = PADDING
        given[1 + FIELDS.index("start")] = 1  # what fills up sees one key: a softmax over none is no number
        given[-3] = keys  # what fills up lies behind all keys
        for i, part in enumerate(parts):
            count = len(part.ids)
            fields = (part.ids, *(getattr(part.rows, name) for name in FIELDS))
            for row, values in zip(given, fields, strict=False):
                row[i, :count] = values
            given[-3, i, :count] = np.arange(part.past, part.past + count)
            given[-2, i], given[-1, i] = part.slot, part.past
        real = np.concatenate([i * longest + np.arange(len(part.ids)) for i, part in enumerate(parts)])
        told = torch.from_numpy(np.concatenate((given.ravel(), real))).to(self.device, non_blocking=True)
        where, real_ = told[: given.size].view(given.shape), told[given.size :]
        ids, *own, places, slots, past = where  # (N, T) each
        rows, index = TokenLayout(*own), torch.arange(keys + 1, device=self.device).expand(n, -1)
        there = torch.where(index < past[:, :1], 0, NOBODY)
        kept = TokenLayout(index, index + 1, there, torch.zeros_like(index), index + 1)  # (N, S + 1)
        known = (getattr(kept, name).scatter(1, places, getattr(rows, name))[:, :-1] for name in FIELDS)
        mask: Tensor = attention_mask(rows, TokenLayout(*known))  # (N, T, S)
        group = self.network.shape.heads // self.network.shape.kv_heads
        return _Batch(
            ids=ids.flatten()[real_],
            position=rows.position.flatten()[real_],
            mask=mask.repeat(1, group, 1).unsqueeze(1),
            kept=self._kept,
            real=real_,
            slots=slots[:, 0],
            slot=slots.flatten()[real_],
            place=places.flatten()[real_],
            size=(n, longest, keys),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """A pass over R rows of N sessions. It is the pass's mask and its past at once.

    ``ids``, ``position``, ``slot``, ``place``: of each row, (R,); ``real``: where it lies in (N, T), flattened;
    ``slots``: of each session (N,); ``mask``: (N, 1, G T, S); ``size``: N, T and S.
    """

    ids: Tensor
    position: Tensor
    mask: Tensor
    kept: Tensor
    real: Tensor
    slots: Tensor
    slot: Tensor
    place: Tensor
    size: tuple[int, int, int]

    def join(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """See `Past.join`: each row's key and value (1, Hkv, R, D) to its session's slot; all of the sessions."""
        keys, values = self.kept[:, layer]  # (slots, Hkv, rows, D)
        keys[self.slot, :, self.place] = key[0].transpose(0, 1)
        values[self.slot, :, self.place] = value[0].transpose(0, 1)
        return keys[self.slots, :, : self.size[2]], values[self.slots, :, : self.size[2]]  # (N, Hkv, S, D)


def attend(q: Tensor, k: Tensor, v: Tensor, batch: _Batch) -> Tensor:
    """See `network.Attend`: rows (1, H, R, D) over each one's own session's keys and values (N, Hkv, S, D)."""
    n, longest, _ = batch.size
    heads, width = q.shape[1], q.shape[3]
    padded = q.new_zeros(n * longest, heads, width)
    padded[batch.real] = q[0].transpose(0, 1)
    y = folded(padded.view(n, longest, heads, width).transpose(1, 2), k, v, batch.mask)  # (N, H, T, D)
    return y.transpose(1, 2).reshape(n * longest, heads, width)[batch.real].transpose(0, 1)[None]
