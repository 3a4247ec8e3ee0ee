"""Runs the rows of several sessions as one forward pass with PyTorch.

For the linear layers the rows of all sessions are concatenated without padding. Only attention separates the sessions,
as (N, H, T, D) padded to the most rows and keys of any session. Keys and values are in the slots of one buffer of fixed
size. All inputs of a pass reach the device as one small array, from which the device computes the mask by the rule of
`attention`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mercury_lsp.engine.backends.attention import ABSENT_CANVAS, PADDING_CANVAS, TokenLayout, attention_mask
from mercury_lsp.engine.backends.network import Network, fused_attention
from mercury_lsp.engine.batching import SlotRows

FIELDS = [field.name for field in fields(TokenLayout)]


class BatchedNetwork:
    """A `batching.Batch` on PyTorch.

    ``forbidden``: ids with a score of -inf. ``threads``: 0 keeps PyTorch's setting.
    """

    row_cost = 0.0

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
        self._keys_and_values = weight.new_zeros(size)
        self.bytes_per_slot = self._keys_and_values[:, :, 0].nbytes

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
        """Make a network with as many slots of ``rows`` rows as fit into ``memory`` bytes, at least one."""
        shape = network.shape
        each = 2 * shape.layers * shape.kv_heads * rows * shape.head_width * network.embedding.weight.itemsize
        return cls(network, forbidden, device, max(1, memory // each), rows, threads)

    @torch.inference_mode()
    def run(self, parts: Sequence[SlotRows]) -> Sequence[Tensor]:
        """See `batching.Batch.run`."""
        batch = self._batch(parts)
        hidden: Tensor = self.network(batch.ids[None], batch.position[None], batch, batch, attend)
        edges = accumulate((len(part.ids) for part in parts), initial=0)
        return [hidden[0, first:last] for first, last in pairwise(edges)]

    @torch.inference_mode()
    def scores(self, hidden: Sequence[Tensor]) -> Sequence[NDArray[np.float32]]:
        """See `batching.Batch.scores`."""
        logits = self.network.logits(torch.cat(list(hidden))).float()  # (n, V)
        scores = logits.index_fill(-1, self._forbidden, -torch.inf).log_softmax(-1).cpu().numpy()
        return np.split(scores, np.cumsum([len(part) for part in hidden])[:-1])

    def free(self, slot: int) -> None:
        """Do nothing: the slots share one buffer of fixed size."""

    def _batch(self, parts: Sequence[SlotRows]) -> _Batch:
        n, longest = len(parts), max(len(part.ids) for part in parts)
        keys = max(part.past + len(part.ids) for part in parts)
        table = np.zeros((len(FIELDS) + 4, n, longest), np.int64)
        table[1 + FIELDS.index("canvas")] = PADDING_CANVAS
        # Padding rows see one key, because a softmax over no keys is NaN, and are written after all other keys.
        table[1 + FIELDS.index("start")] = 1
        table[-3] = keys
        for i, part in enumerate(parts):
            count = len(part.ids)
            fields = (part.ids, *(getattr(part.rows, name) for name in FIELDS))
            for row, values in zip(table, fields, strict=False):
                row[i, :count] = values
            table[-3, i, :count] = np.arange(part.past, part.past + count)
            table[-2, i], table[-1, i] = part.slot, part.past
        real = np.concatenate([i * longest + np.arange(len(part.ids)) for i, part in enumerate(parts)])
        inputs = torch.from_numpy(np.concatenate((table.ravel(), real))).to(self.device, non_blocking=True)
        padded_inputs, real_rows = inputs[: table.size].view(table.shape), inputs[table.size :]
        ids, *layout_fields, places, slots, past = padded_inputs  # (N, T) each
        rows, index = TokenLayout(*layout_fields), torch.arange(keys + 1, device=self.device).expand(n, -1)
        canvas = torch.where(index < past[:, :1], 0, ABSENT_CANVAS)
        cached = TokenLayout(index, index + 1, canvas, torch.zeros_like(index), index + 1)  # (N, S + 1)
        key_fields = (
            getattr(cached, name).scatter(1, places, getattr(rows, name))[:, :-1] for name in FIELDS
        )
        mask: Tensor = attention_mask(rows, TokenLayout(*key_fields))  # (N, T, S)
        group = self.network.shape.heads // self.network.shape.kv_heads
        return _Batch(
            ids=ids.flatten()[real_rows],
            position=rows.position.flatten()[real_rows],
            mask=mask.repeat(1, group, 1).unsqueeze(1),
            keys_and_values=self._keys_and_values,
            real=real_rows,
            slots=slots[:, 0],
            slot=slots.flatten()[real_rows],
            place=places.flatten()[real_rows],
            size=(n, longest, keys),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """A pass over R rows of N sessions, used as the mask and as the `Past` of `Network.forward`.

    ``ids``, ``position``, ``slot``, ``place``: of each row, (R,). ``real``: the row's index in (N, T), flattened.
    ``slots``: of each session, (N,). ``mask``: (N, 1, G T, S). ``size``: N, T and S.
    """

    ids: Tensor
    position: Tensor
    mask: Tensor
    keys_and_values: Tensor
    real: Tensor
    slots: Tensor
    slot: Tensor
    place: Tensor
    size: tuple[int, int, int]

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write each row's key and value (1, Hkv, R, D) to its slot, and return those of all sessions, see `Past`."""
        keys, values = self.keys_and_values[:, layer]  # (slots, Hkv, rows, D)
        keys[self.slot, :, self.place] = key[0].transpose(0, 1)
        values[self.slot, :, self.place] = value[0].transpose(0, 1)
        return keys[self.slots, :, : self.size[2]], values[self.slots, :, : self.size[2]]  # (N, Hkv, S, D)


def attend(q: Tensor, k: Tensor, v: Tensor, batch: _Batch) -> Tensor:
    """Attend rows (1, H, R, D) to the keys and values (N, Hkv, S, D) of their sessions, see `network.Attend`."""
    n, longest, _ = batch.size
    heads, width = q.shape[1], q.shape[3]
    padded = q.new_zeros(n * longest, heads, width)
    padded[batch.real] = q[0].transpose(0, 1)
    y = fused_attention(
        padded.view(n, longest, heads, width).transpose(1, 2), k, v, batch.mask
    )  # (N, H, T, D)
    return y.transpose(1, 2).reshape(n * longest, heads, width)[batch.real].transpose(0, 1)[None]
