"""Lays out the rows of a training context, as arrays: a group's tokens, and canvases drawn for it.

`noise` defines which tokens are masked and their weights, `backends.attention` which rows see each other.

A context is ``[trunk | branches | canvases]``. The trunk is what the prompts of a group of holes have in common; each
branch is the rest of one prompt, its middle and ``<eot>``. On the branches' middles, and on plain blocks of the
trunk, hang canvases, all masked or in pairs with complementary masks, each blind to all others: one pass over the
context trains them all (the vectorised training of BD3-LM, Arriola et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from mercury_lsp.engine.tokenizer import Specials, Tokenizer
from model.data.groups import Branch, Group, Ids
from model.training import noise

BLOCK_SIZES = {3: 0.5, 6: 0.5}
"""Shares of the sizes that serving uses, on processors and on GPUs; drawn without regard to a middle's length."""

NO_TARGET = -100
NO_TWIN = -1

Array = npt.NDArray[np.int64]
_SHARES = torch.tensor(list(BLOCK_SIZES.values()))
_WIDEST = max(BLOCK_SIZES)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of a target in the loss, by its place. Path headers have none: the model is never asked for a path.

    ``trunk``: next token, on text that the base model could mostly read already. ``trunk_share``: share of the trunk's
    tokens that are targets at all, since the vocabulary is costly. ``tail``: next token, on the end of a prompt that
    only one hole has. ``middle``: next token, on the hole, with which a verified draft must agree. ``canvas``: masked
    tokens. ``filling``: factor of each <eot> after the first one.
    """

    trunk: float = 0.3
    trunk_share: float = 1.0
    tail: float = 0.0
    middle: float = 2.0
    canvas: float = 0.4
    filling: float = 0.1


CAUSAL = Weights(trunk=1.0, tail=1.0, middle=1.0, canvas=0.0)
"""Weights of causal infilling alone: all text has the same weight, and there are no canvases."""


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
class _Noise:
    """The drawn noise of ``B`` blocks.

    ``size`` (B,): tokens of each block. ``mask`` (B, 2, W), ``weight`` (B, 2) and ``paired`` (B,): see
    `noise.mask_blocks`. ``place`` (B,): in [0, 1), where in the text a block begins.
    """

    size: Array
    mask: npt.NDArray[np.bool_]
    weight: npt.NDArray[np.float32]
    paired: npt.NDArray[np.bool_]
    place: npt.NDArray[np.float32]

    @classmethod
    def draw(cls, count: int, generator: torch.Generator, all_masked: float) -> _Noise:
        """The noise of ``count`` blocks."""
        chosen = torch.multinomial(_SHARES, count, replacement=True, generator=generator).numpy()
        size = np.array(list(BLOCK_SIZES))[chosen]
        mask, weight, paired = (
            part.numpy() for part in noise.mask_blocks(count, _WIDEST, generator, all_masked)
        )
        return cls(size, mask, weight, paired, torch.rand(count, generator=generator).numpy())

    @property
    def rows(self) -> Array:
        """Rows of the one or two canvases of each block (B,), with their anchors."""
        return (self.size + 1) * (1 + self.paired)

    def take(self, blocks: Sequence[int]) -> _Noise:
        """The noise of some of the blocks."""
        return _Noise(*(getattr(self, f.name)[blocks] for f in fields(self)))


def lay_out(
    group: Group,
    tokenizer: Tokenizer,
    length: int,
    weights: Weights,
    generator: torch.Generator,
    all_masked: float = noise.ALL_MASKED,
    canvas_rows: int = 0,
) -> Context | None:
    """One context of at most ``length`` rows of a group, with fresh noise; None if not even one hole fits.

    all_masked: share of the blocks that are drafted from nothing. canvas_rows: the most rows of canvases; 0 fills the
    context. There are no canvases if they have no weight.
    """
    room = length - len(group.trunk)
    branches: list[Branch] = []
    for branch in group.branches:
        if (rows := len(branch.tail) + len(branch.middle)) <= room:
            room -= rows
            branches.append(branch)
    if not branches:
        return None
    learned = torch.rand(len(group.trunk), generator=generator).numpy() < weights.trunk_share
    header = _headers(group.trunk, tokenizer)
    clean = _clean(group.trunk, branches, weights, learned & ~header, tokenizer.hidden)
    if not weights.canvas:
        return clean
    room = min(room, canvas_rows or room)
    drawn = _Noise.draw(2 * len(branches) + room // min(BLOCK_SIZES), generator, all_masked)
    blocks = _blocks(group.trunk, branches, header, drawn, tokenizer.specials)
    # The blocks that fit, in their order; each takes the noise of its number.
    kept = []
    for number, rows in zip(blocks, drawn.rows[list(blocks)].tolist(), strict=True):
        if rows <= room:
            room -= rows
            kept.append(number)
    if not kept:
        return clean
    table = np.array([blocks[number] for number in kept])
    canvases = _canvases(clean, table, drawn.take(kept), weights, tokenizer)
    return Context(
        *(np.concatenate((getattr(clean, f.name), getattr(canvases, f.name))) for f in fields(Context))
    )


@cache
def _header_ends(tokenizer: Tokenizer) -> Array:
    """Ids of the tokens that end a path header: newlines, and the special tokens of the layout."""
    return np.array(sorted(tokenizer.newlines().union(tokenizer.hidden)))


def _headers(trunk: Ids, tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    """Whether each token of a trunk (T,) belongs to a path header: it is on the first line after ``<file_sep>`` or
    ``<fim_prefix>``, the line's end included.

    A prompt without a path loses the first line of its window, which hardly anything before it predicts.
    """
    ends = np.flatnonzero(np.isin(trunk, _header_ends(tokenizer)))
    header = np.zeros(len(trunk), bool)
    special = tokenizer.specials
    for marker in np.flatnonzero(np.isin(trunk, (special.file_sep, special.fim_prefix))):
        after = ends[np.searchsorted(ends, marker, side="right") :]
        header[marker + 1 : after[0] + 1 if len(after) else len(trunk)] = True
    return header


def _blocks(
    trunk: Ids, branches: Sequence[Branch], header: npt.NDArray[np.bool_], drawn: _Noise, special: Specials
) -> dict[int, tuple[int, int]]:
    """Places of blocks among the clean rows, as (first row, end of its text), by the number of their noise.

    Two for each middle: at its beginning and, since a draft may begin at any token, somewhere in it. Then plain blocks
    of the file, after its path and before the cursor. Not all may fit into the context.
    """
    blocks: dict[int, tuple[int, int]] = {}
    first = len(trunk)
    for number, branch in enumerate(branches):
        first += len(branch.tail)
        end = first + len(branch.middle)
        blocks[2 * number] = first, end
        if inside := int(drawn.place[2 * number + 1] * len(branch.middle)):
            blocks[2 * number + 1] = first + inside, end
        first = end
    begin = int(np.flatnonzero(header | (trunk == special.fim_prefix))[-1]) + 1
    cursors = np.flatnonzero(trunk == special.fim_rest)
    end = int(cursors[0]) if len(cursors) else len(trunk)
    for number in range(2 * len(branches), len(drawn.size)):
        if (places := end - begin - int(drawn.size[number]) + 1) > 0:
            blocks[number] = begin + int(drawn.place[number] * places), end
    return blocks


def _clean(
    trunk: Ids,
    branches: Sequence[Branch],
    weights: Weights,
    learned: npt.NDArray[np.bool_],
    hidden: Sequence[int],
) -> Context:
    """The rows of a trunk and its branches. learned: which tokens of the trunk (T,) are targets."""
    n = len(trunk)
    ids = np.concatenate([trunk, *(ids for branch in branches for ids in (branch.tail, branch.middle))])
    ids = ids.astype(np.int64)
    tails = np.array([0, *(len(branch.tail) for branch in branches)])
    lengths = tails + np.array([n, *(len(branch.middle) for branch in branches)])
    branch = np.repeat(np.arange(len(lengths)), lengths)
    inside = np.arange(len(ids)) - (lengths.cumsum() - lengths)[branch]
    position = inside + np.where(branch > 0, n, 0)
    following = np.roll(ids, -1)
    last = inside == lengths[branch] - 1
    # No row predicts a cursor, which special tokens mark.
    text = ~last & ~np.isin(following, hidden)
    in_trunk = (branch == 0) & text
    in_trunk[: n - 1] &= learned[1:]
    in_middle = (branch > 0) & ~last & (inside >= tails[branch] - 1)
    in_tail = (branch > 0) & text & ~in_middle & (weights.tail > 0)
    return Context(
        ids=ids,
        position=position,
        start=position + 1,
        canvas=np.zeros_like(ids),
        branch=branch,
        fork=np.where(branch > 0, n, position + 1),
        target=np.where(in_trunk | in_tail | in_middle, following, NO_TARGET),
        weight=(in_trunk * weights.trunk + in_tail * weights.tail + in_middle * weights.middle).astype(
            np.float32
        ),
        twin=np.arange(len(ids)),
    )


def _canvases(
    clean: Context, blocks: Array, drawn: _Noise, weights: Weights, tokenizer: Tokenizer
) -> Context:
    """The canvases of blocks (B, 2), as (first row, end of its text) among the clean rows: for each canvas the anchor,
    then its tokens with the masked ones hidden.

    After a middle's end there is only <eot>. Computed as a table with a row for each canvas (C, W + 1), of which each
    keeps as many columns as its size takes.
    """
    copies = 1 + drawn.paired
    which = np.repeat(np.arange(len(blocks)), copies)  # (C,) block of each canvas
    second = np.arange(len(which)) - np.repeat(
        copies.cumsum() - copies, copies
    )  # 1 for a pair's other canvas
    first, end = (column[:, None] for column in blocks[which].T)  # (C, 1) each
    across = np.arange(_WIDEST + 1)
    place = first - 1 + across  # (C, W + 1) rows of the anchor and of the tokens after it
    real = place < end
    token = np.where(real, clean.ids[np.minimum(place, end - 1)], tokenizer.specials.eot)
    masked = drawn.mask[which, second]  # (C, W) of the tokens after the anchor
    size = drawn.size[which][:, None]
    asked = masked & (across[:-1] < size)
    loss = drawn.weight[which, second][:, None] * np.where(real[:, 1:], 1.0, weights.filling) * weights.canvas
    ids = token.copy()
    ids[:, 1:] = np.where(masked, tokenizer.specials.mask, token[:, 1:])
    target, weight = np.full_like(ids, NO_TARGET), np.zeros(ids.shape, np.float32)
    target[:, :-1] = np.where(asked, token[:, 1:], NO_TARGET)
    weight[:, :-1] = asked * loss
    twin = np.full_like(ids, NO_TWIN)
    twin[:, :-1] = np.where(real[:, 1:], place[:, :-1], NO_TWIN)
    position = clean.position[first]
    columns = Context(
        ids=ids,
        position=position - 1 + across,
        start=position,
        canvas=np.arange(1, len(which) + 1)[:, None],
        branch=clean.branch[first],
        fork=clean.fork[first],
        target=target,
        weight=weight,
        twin=twin,
    )
    kept = across <= size
    return Context(*(np.broadcast_to(getattr(columns, f.name), kept.shape)[kept] for f in fields(Context)))
