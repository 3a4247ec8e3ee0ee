"""Builds the tensors of a forward pass from the contexts of `layout`: padded to one length, or packed in one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mercury_lsp.engine.backends.attention import PADDING_CANVAS, TokenLayout
from model.training.layout import NO_TARGET, NO_TWIN, Context

# The number of clean rows of a padded batch is a multiple of this, because each new number compiles new kernels.
CLEAN_MULTIPLE = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Contexts as tensors: ids, target, is_canvas, weight, twin and each field of rows are (N, L).

    ``chosen`` (K,): the flat indices of the rows with a target, padded with -1 to a multiple. ``targets``: the number
    of rows with a target. ``worth``: their total weight. ``pairs``: the number of visible pairs of query and key.
    ``clean``: the first rows of each context that include all its clean rows. ``lengths``: the lengths of the contexts
    that are packed into the only row of the batch; empty if each context has its own row.
    """

    ids: Tensor
    rows: TokenLayout
    target: Tensor
    weight: Tensor
    is_canvas: Tensor
    chosen: Tensor
    targets: int
    worth: float
    pairs: int
    twin: Tensor
    clean: int
    lengths: tuple[int, ...] = ()

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the same batch with ``change`` applied to each tensor."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors: dict[str, Any] = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, rows=self.rows.map(change), **tensors)

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on a device; the copy from pinned memory is asynchronous."""
        return self.map(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the same batch in pinned memory; `DataLoader` calls this."""
        return self.map(lambda value: value.pin_memory())


def pack_contexts(contexts: Sequence[Context], multiple: int = 0) -> Batch:
    """Concatenate contexts in one row, without padding; each context sees only itself. multiple: see `collate`."""
    names = [f.name for f in fields(Context)]
    joined = Context(*(np.concatenate([getattr(context, name) for context in contexts]) for name in names))
    lengths = tuple(len(context.ids) for context in contexts)
    made = collate([joined], sum(lengths), 0, multiple)
    # Contexts count the places of twins from their own start.
    shift = np.repeat(np.cumsum((0, *lengths[:-1])), lengths)
    twin = torch.from_numpy(np.where(joined.twin == NO_TWIN, NO_TWIN, joined.twin + shift))[None]
    pairs = sum(_pairs(context) for context in contexts)
    return replace(made, lengths=lengths, twin=twin, pairs=pairs, clean=sum(lengths))


def collate(contexts: Sequence[Context], length: int, filler: int, multiple: int = 0) -> Batch:
    """Stack contexts, each padded to ``length`` rows. Padding rows see only each other, and have no target.

    multiple: pad ``chosen`` to a multiple of this number; 0 does not pad.
    """
    columns = {}
    for f in fields(Context):
        empty = {"ids": filler, "canvas": PADDING_CANVAS, "target": NO_TARGET, "twin": NO_TWIN}.get(f.name, 0)
        column = np.full((len(contexts), length), empty, np.float32 if f.name == "weight" else np.int64)
        for row, context in zip(column, contexts, strict=True):
            values = getattr(context, f.name)
            row[: len(values)] = values
        columns[f.name] = torch.from_numpy(column)
    rows = TokenLayout(*(columns[f.name] for f in fields(TokenLayout)))
    chosen = torch.from_numpy(np.flatnonzero(columns["target"].numpy() != NO_TARGET))
    targets = len(chosen)
    if multiple:
        chosen = F.pad(chosen, (0, -len(chosen) % multiple), value=-1)
    clean = max(int((context.canvas == 0).sum()) for context in contexts)
    worth = float(columns["weight"].sum(dtype=torch.float64))
    return Batch(
        ids=columns["ids"],
        rows=rows,
        target=columns["target"],
        weight=columns["weight"],
        is_canvas=rows.canvas > 0,
        chosen=chosen,
        targets=targets,
        worth=worth,
        pairs=sum(map(_pairs, contexts)),
        twin=columns["twin"],
        clean=min(length, -(-clean // CLEAN_MULTIPLE) * CLEAN_MULTIPLE),
    )


def _pairs(context: Context) -> int:
    """Count the pairs of query and key that see each other: a row sees the tokens before its start, and its canvas."""
    wide = np.bincount(context.canvas)[1:]
    return int(context.start.sum()) + int((wide * wide).sum())
