"""Lays out the rows of training contexts: a group's tokens and its canvases, as arrays; and batches of contexts.

The masks and their loss weights come from `noise`, the attention rule is `backends.attention.attends`.

A context is ``[trunk | branches | canvases]``. The trunk is the common start of the prompts of a group of holes; each
branch is the rest of one prompt, its middle and ``<eot>``. Canvases are placed on the branches' middles and on blocks
of the trunk, all masked or in pairs with complementary masks. No canvas sees another, so one pass over the context
trains them all (the vectorized training of BD3-LM, Arriola et al. 2025).
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

# The block sizes served on CPUs and GPUs, with their shares; drawn independently of a middle's length.
BLOCK_SIZES = {3: 0.5, 6: 0.5}
NO_TARGET = -100
NO_TWIN = -1
# The canvas number of padding rows, which see only each other.
PADDING = 1 << 20

Array = npt.NDArray[np.int64]
_SIZES = list(BLOCK_SIZES)
_SHARES = torch.tensor(list(BLOCK_SIZES.values()))
_WIDEST = max(_SIZES)
# No block of the trunk begins within this many tokens from <fim_prefix> on, because the path header is there.
_HEADER = 9


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the parts of the loss."""

    # Next tokens of the trunk, which the base model predicts well already.
    trunk: float = 0.3
    # The share of the trunk's rows that have a target, since computing logits is expensive.
    trunk_share: float = 1.0
    # Next tokens of the end of a prompt, which only one hole has.
    tail: float = 0.0
    # Next tokens of a middle, by which serving verifies drafts.
    middle: float = 2.0
    # Masked tokens.
    canvas: float = 0.4
    # Each <eot> after the first one, relative to the other masked tokens.
    filling: float = 0.1


CAUSAL = Weights(trunk=1.0, tail=1.0, middle=1.0, canvas=0.0)
"""Weights of causal infilling: all clean rows with a target weigh the same, and there are no canvases."""


@dataclass(frozen=True, slots=True)
class Context:
    """The rows of one context, each field (T,): token ids, the fields of `TokenLayout`, targets and their weights.

    ``twin`` is the clean row that predicts the same token and sees all tokens before it. The twin of a clean row is the
    row itself; a row that fills a canvas after the end of the text has `NO_TWIN`.
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
    """Contexts as tensors: ids, target, is_canvas, weight, twin and each field of rows are (N, L).

    ``chosen`` (K,): the flat indices of the rows with a target, padded with -1 to a multiple. ``targets``: the number
    of rows with a target. ``worth``: their total weight. ``pairs``: the number of visible pairs of query and key.
    ``clean``: the largest number of clean rows, which come first, in a context. ``lengths``: the lengths of the
    contexts that are packed into the only row of the batch; empty if each context has its own row.
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


@dataclass(frozen=True, slots=True)
class _Block:
    """A block that gets canvases.

    ``source``, ``end``: the block's first clean row, and the end of the text it belongs to. ``first``: the position of
    its first token. ``worth``: its loss weight. ``drawn``: the index of its noise.
    """

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
    """Lay out a group as one context of at most ``length`` rows, with new noise; return None if no hole fits.

    all_masked: the share of blocks whose tokens are all masked. If canvases have no weight, there are none.
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
    clean = _clean(pieces, tails, weights, learned, tokenizer.forbidden)
    if not weights.canvas:
        return clean
    body = int(np.flatnonzero(group.trunk == special.fim_prefix)[0]) + _HEADER
    cursors = np.flatnonzero(group.trunk == special.fim_rest)
    # No block spans the cursor.
    end = int(cursors[0]) if len(cursors) else n
    # The rest of the budget goes to blocks of the trunk.
    for k in range(used, draws):
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
    """Lay out the rows of the trunk and the branches. pieces: the trunk, then the tail and middle of each branch."""
    n = len(pieces[0])
    ids = np.concatenate(pieces).astype(np.int64)
    lengths = np.array([n, *(len(a) + len(b) for a, b in zip(pieces[1::2], pieces[2::2], strict=True))])
    branch = np.repeat(np.arange(len(lengths)), lengths)
    inside = np.arange(len(ids)) - (lengths.cumsum() - lengths)[branch]
    position = inside + np.where(branch > 0, n, 0)
    following = np.roll(ids, -1)
    last = inside == lengths[branch] - 1
    # Special tokens, such as the cursor's, are not predicted.
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
    """Lay out the canvases of all blocks: for each its anchor, then its tokens, some of them masked.

    After the end of a middle, a canvas contains <eot> only. The canvases are computed as a table (C, widest + 1), of
    which each row is then cut to the size of its canvas.
    """
    table = np.array([(b.source, b.end, b.first, b.branch, b.fork, b.drawn) for b in blocks])
    drawn = table[:, 5]
    copies = 1 + paired[drawn]
    which = np.repeat(np.arange(len(blocks)), copies)  # block of each canvas
    # 1 for the second canvas of a pair.
    second = np.arange(len(which)) - np.repeat(copies.cumsum() - copies, copies)
    source, end, first, branch, fork, drawn = (column[:, None] for column in table[which].T)  # (C, 1) each
    size = np.array(sizes)[drawn]
    across = np.arange(_WIDEST + 1)
    place = source - 1 + across  # (C, W + 1), from the anchor's place on
    real = place < end
    token = np.where(real, clean[np.minimum(place, end - 1)], eot)
    hidden = masks[drawn[:, 0], second]  # (C, W), from the token after the anchor on
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
    """Count the pairs of query and key that see each other: a row sees the tokens before its start, and its canvas."""
    wide = np.bincount(context.canvas)[1:]
    return int(context.start.sum()) + int((wide * wide).sum())
