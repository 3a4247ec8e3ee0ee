"""Lays out the rows of training contexts: a group's tokens, and canvases drawn for it, as arrays.

Owns the assembly of a context and of batches of them. Knows no files and no network; what is masked and how it weighs
is `noise`, who sees whom is `backends.attention.attention_mask`.

A context is ``[trunk | branches | canvases]``. The trunk is what the prompts of a group of holes have in common; each
branch is the rest of one prompt, its middle and ``<eot>``. On the branches' middles, and on plain blocks of the
trunk, hang canvases, all masked or in pairs with complementary masks, each blind to all others: one pass over the
context trains them all (the vectorised training of BD3-LM, Arriola et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.tokenizer import Tokenizer
from model.data.groups import Group, Ids
from model.training import noise

BLOCK_SIZES = {3: 0.5, 6: 0.5}  # those that are served, on processors and GPUs; drawn blindly of the length
NO_TARGET = -100
NO_TWIN = -1
PADDING = 1 << 20  # the canvas of padding rows: they see one another only

Array = npt.NDArray[np.int64]
_SIZES = list(BLOCK_SIZES)
_SHARES = torch.tensor(list(BLOCK_SIZES.values()))
_WIDEST = max(_SIZES)
_HEADER = 9  # tokens behind <fim_prefix> that no plain block begins in: a path's


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the loss."""

    trunk: float = 0.3  # next token, on text that the base model could mostly read already
    trunk_share: float = 1.0  # of the trunk's rows that go through the costly vocabulary at all
    tail: float = 0.0  # next token, on the end of a prompt that only one hole has
    middle: float = 2.0  # next token, on the hole: what a verified draft must agree with
    canvas: float = 0.4  # masked tokens
    filling: float = 0.1  # an <eot> behind the first one


CAUSAL = Weights(trunk=1.0, tail=1.0, middle=1.0, canvas=0.0)
"""Weights of causal infilling alone: every clean row is a target of one weight, and there are no canvases."""


@dataclass(frozen=True, slots=True)
class Context:
    """The rows of one context, each field (T,): those of `backends.attention.TokenLayout`, and what each row is to
    predict.

    ``twin`` is the clean row that predicts the same token, knowing all before it: for a clean row itself; `NO_TWIN`
    for what fills a canvas behind the end.
    """

    ids: Array
    position: Array
    start: Array
    canvas: Array
    branch: Array
    fork: Array
    target: Array
    weight: npt.NDArray[np.float32]
    twin: Array


@dataclass(frozen=True, slots=True)
class Batch:
    """Contexts as tensors. ids, target, is_canvas, weight, twin and each of rows: (N, L).

    ``chosen`` (K,) are the flat places of the rows that have a target, with -1 where it was filled up to a multiple.
    ``targets`` is how many they are and ``worth`` their weight; ``pairs`` is how many pairs of query and key see each
    other; ``clean`` is how many rows at the start of a context are clean ones, at most. ``lengths`` are those of the
    contexts that are packed one after the other into the batch's only row; empty where each has a row of its own.
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
        """The same batch with ``change`` applied to each tensor."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors: dict[str, Any] = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, rows=self.rows.map(change), **tensors)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; from pinned memory, without waiting for the copy."""
        return self.map(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in memory that a device can copy from; `DataLoader` calls this."""
        return self.map(lambda value: value.pin_memory())


@dataclass(frozen=True, slots=True)
class _Block:
    """Where among the clean rows a block's tokens lie and end, its place, and which of the drawn noise it takes."""

    source: int
    end: int
    first: int
    branch: int
    fork: int
    worth: float
    drawn: int


def lay_out(
    group: Group,
    tokenizer: Tokenizer,
    length: int,
    weights: Weights,
    generator: torch.Generator,
    all_masked: float = noise.ALL_MASKED,
) -> Context | None:
    """One context of at most ``length`` rows of a group, with fresh noise; None where not even one hole fits.

    all_masked: share of the blocks that are drafted from nothing. Without a weight for canvases there are none.
    """
    special = tokenizer.specials
    n = len(group.trunk)
    room = length - n
    draws = 2 * len(group.branches) + max(0, room) // min(_SIZES) + 4
    drawn = torch.multinomial(_SHARES, draws, replacement=True, generator=generator).tolist()
    sizes = [_SIZES[i] for i in drawn]
    masks, losses, paired = (
        part.numpy() for part in noise.mask_blocks(draws, _WIDEST, generator, all_masked)
    )
    costs = [(size + 1) * (1 + pair) for size, pair in zip(sizes, paired.tolist(), strict=True)]
    where = torch.rand(draws, generator=generator).tolist()
    learned = torch.rand(n, generator=generator).numpy() < weights.trunk_share
    pieces, tails, blocks = [group.trunk], [0], []
    used, offset = 0, n
    for branch in group.branches:
        tail, middle = len(branch.tail), len(branch.middle)
        # A draft may begin at any token.
        places = sorted({0, int(where[used] * middle)}) if weights.canvas else []
        cost = tail + middle + sum(costs[used : used + len(places)])
        if cost <= room:
            room -= cost
            pieces += [branch.tail, branch.middle]
            tails.append(tail)
            first = n + tail
            for at in places:
                source, number = offset + tail + at, len(tails) - 1
                blocks.append(
                    _Block(source, offset + tail + middle, first + at, number, n, weights.canvas, used)
                )
                used += 1
            offset += tail + middle
        else:
            used += len(places)
    if len(tails) == 1:
        return None
    clean = _clean(pieces, tails, weights, learned, tokenizer.hidden)
    if not weights.canvas:
        return clean
    body = int(np.flatnonzero(group.trunk == special.fim_prefix)[0]) + _HEADER
    cursors = np.flatnonzero(group.trunk == special.fim_rest)
    end = int(cursors[0]) if len(cursors) else n  # no block lies across the cursor
    for k in range(used, draws):  # what is left of the budget goes to plain blocks of the file
        size = sizes[k]
        if size < end - body and costs[k] <= room:
            room -= costs[k]
            at = body + int(where[k] * (end - size + 1 - body))
            blocks.append(_Block(at, end, at, 0, at, weights.canvas, k))
        if room <= min(_SIZES):
            break
    canvases = _canvases(clean.ids, blocks, sizes, masks, losses, paired, weights, special.eot, special.mask)
    return Context(
        *(np.concatenate((getattr(clean, f.name), getattr(canvases, f.name))) for f in fields(Context))
    )


def _clean(
    pieces: Sequence[Ids],
    tails: list[int],
    weights: Weights,
    learned: npt.NDArray[np.bool_],
    hidden: Sequence[int],
) -> Context:
    """The rows of the trunk and of the branches: ``pieces`` is the trunk, then each one's tail and middle."""
    n = len(pieces[0])
    ids = np.concatenate(pieces).astype(np.int64)
    lengths = np.array([n, *(len(a) + len(b) for a, b in zip(pieces[1::2], pieces[2::2], strict=True))])
    branch = np.repeat(np.arange(len(lengths)), lengths)
    inside = np.arange(len(ids)) - (lengths.cumsum() - lengths)[branch]
    position = inside + np.where(branch > 0, n, 0)
    following = np.roll(ids, -1)
    last = inside == lengths[branch] - 1
    # Nothing predicts a cursor, which is what special tokens tell.
    text = ~last & ~np.isin(following, hidden)
    trunk = (branch == 0) & text
    trunk[:n] &= learned
    behind = inside >= np.array(tails)[branch] - 1
    middle = (branch > 0) & ~last & behind
    tail = (branch > 0) & text & ~behind & (weights.tail > 0)
    return Context(
        ids=ids,
        position=position,
        start=position + 1,
        canvas=np.zeros_like(ids),
        branch=branch,
        fork=np.where(branch > 0, n, position + 1),
        target=np.where(trunk | tail | middle, following, NO_TARGET),
        weight=(trunk * weights.trunk + tail * weights.tail + middle * weights.middle).astype(np.float32),
        twin=np.arange(len(ids)),
    )


def _canvases(
    clean: Array,
    blocks: Sequence[_Block],
    sizes: Sequence[int],
    masks: npt.NDArray[np.bool_],
    losses: npt.NDArray[np.float32],
    paired: npt.NDArray[np.bool_],
    weights: Weights,
    eot: int,
    mask: int,
) -> Context:
    """The canvases of all blocks: for each the anchor, then its tokens with the masked ones hidden.

    Behind a middle's end there is only <eot>. Worked out as a table with a row for each canvas (C, widest + 1), of
    which each keeps what its size takes.
    """
    table = np.array([(b.source, b.end, b.first, b.branch, b.fork, b.drawn) for b in blocks])
    drawn = table[:, 5]
    copies = 1 + paired[drawn]
    which = np.repeat(np.arange(len(blocks)), copies)  # block of each canvas
    second = np.arange(len(which)) - np.repeat(
        copies.cumsum() - copies, copies
    )  # 1 for a pair's other canvas
    source, end, first, branch, fork, drawn = (column[:, None] for column in table[which].T)  # (C, 1) each
    size = np.array(sizes)[drawn]
    across = np.arange(_WIDEST + 1)
    place = source - 1 + across  # (C, W + 1) the anchor's place and on
    real = place < end
    token = np.where(real, clean[np.minimum(place, end - 1)], eot)
    hidden = masks[drawn[:, 0], second]  # (C, W) of the token behind the anchor and on
    inside = across[:-1] < size
    asked = hidden & inside
    loss = losses[drawn[:, 0], second][:, None] * weights.canvas * np.where(real[:, 1:], 1.0, weights.filling)
    kept = across <= size
    ids = token.copy()
    ids[:, 1:] = np.where(hidden, mask, token[:, 1:])
    target, weight = np.full_like(ids, NO_TARGET), np.zeros(ids.shape, np.float32)
    target[:, :-1] = np.where(asked, token[:, 1:], NO_TARGET)
    weight[:, :-1] = asked * loss
    twin = np.full_like(ids, NO_TWIN)
    twin[:, :-1] = np.where(real[:, 1:], place[:, :-1], NO_TWIN)
    number = np.arange(1, len(which) + 1)[:, None]
    columns = (ids, first - 1 + across, first, number, branch, fork, target, weight, twin)
    return Context(*(np.broadcast_to(column, kept.shape)[kept] for column in columns))


def packed(contexts: Sequence[Context], multiple: int = 0) -> Batch:
    """Contexts one after the other in one row, without padding; each sees itself alone. multiple: see `collate`."""
    names = [f.name for f in fields(Context)]
    joined = Context(*(np.concatenate([getattr(context, name) for context in contexts]) for name in names))
    lengths = tuple(len(context.ids) for context in contexts)
    made = collate([joined], sum(lengths), 0, multiple)
    # A twin is a place in its own context.
    shift = np.repeat(np.cumsum((0, *lengths[:-1])), lengths)
    twin = torch.from_numpy(np.where(joined.twin == NO_TWIN, NO_TWIN, joined.twin + shift))[None]
    pairs = sum(_pairs(context) for context in contexts)
    return replace(made, lengths=lengths, twin=twin, pairs=pairs, clean=sum(lengths))


def collate(contexts: Sequence[Context], length: int, filler: int, multiple: int = 0) -> Batch:
    """Contexts padded to ``length`` rows. Padding rows see one another only, and have no target.

    multiple: fill ``chosen`` up to a multiple of this; 0 leaves it as long as it is.
    """
    columns = {}
    for f in fields(Context):
        empty = {"ids": filler, "canvas": PADDING, "target": NO_TARGET, "twin": NO_TWIN}.get(f.name, 0)
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
        clean=max(int((context.canvas == 0).sum()) for context in contexts),
    )


def _pairs(context: Context) -> int:
    """How many pairs of query and key see each other: a row sees what comes before its start, and its canvas."""
    wide = np.bincount(context.canvas)[1:]
    return int(context.start.sum()) + int((wide * wide).sum())
