"""Lays out the rows of training contexts: a group's tokens and its canvases, as arrays.

The masks and their loss weights come from `noise`, the attention rule is `backends.attention.attends`.

A context is ``[trunk | branches | canvases]``. The trunk is the common start of the prompts of a group of holes; each
branch is the rest of one prompt, its middle and ``<eot>``. Canvases are placed on the branches' middles and on blocks
of the trunk, all masked or in pairs with complementary masks. No canvas sees another, so one pass over the context
trains them all (the vectorized training of BD3-LM, Arriola et al. 2025).
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

# The block sizes served on CPUs and GPUs, with their shares; drawn independently of a middle's length.
BLOCK_SIZES = {3: 0.5, 6: 0.5}
NO_TARGET = -100
NO_TWIN = -1

Array = npt.NDArray[np.int64]
_SHARES = torch.tensor(list(BLOCK_SIZES.values()))
_WIDEST = max(BLOCK_SIZES)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the parts of the loss. Path headers have no loss, because the server never asks for a path."""

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
class _Noise:
    """The sizes, masks and places drawn for ``B`` blocks.

    ``size`` (B,): tokens of each block. ``mask`` (B, 2, W), ``weight`` (B, 2) and ``paired`` (B,): see
    `noise.mask_blocks`. ``place`` (B,): the start of each block in its text, as a share in [0, 1).
    """

    size: Array
    mask: npt.NDArray[np.bool_]
    weight: npt.NDArray[np.float32]
    paired: npt.NDArray[np.bool_]
    place: npt.NDArray[np.float32]

    @classmethod
    def draw(cls, count: int, generator: torch.Generator, all_masked: float) -> _Noise:
        """Draw the noise of ``count`` blocks. all_masked: the share of blocks whose tokens are all masked."""
        chosen = torch.multinomial(_SHARES, count, replacement=True, generator=generator).numpy()
        size = np.array(list(BLOCK_SIZES))[chosen]
        mask, weight, paired = (
            part.numpy() for part in noise.mask_blocks(count, _WIDEST, generator, all_masked)
        )
        return cls(size, mask, weight, paired, torch.rand(count, generator=generator).numpy())

    @property
    def rows(self) -> Array:
        """The number of rows of each block's one or two canvases (B,), including their anchors."""
        return (self.size + 1) * (1 + self.paired)

    def take(self, blocks: Sequence[int]) -> _Noise:
        """Return the noise of the given blocks, in their order."""
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
    """Lay out a group as one context of at most ``length`` rows, with new noise; return None if no hole fits.

    all_masked: the share of blocks whose tokens are all masked. canvas_rows: the largest number of rows of canvases; 0
    fills the context. If canvases have no weight, there are none.
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
    clean = _clean(group.trunk, branches, weights, learned & ~header, tokenizer.forbidden)
    if not weights.canvas:
        return clean
    room = min(room, canvas_rows or room)
    drawn = _Noise.draw(2 * len(branches) + room // min(BLOCK_SIZES), generator, all_masked)
    blocks = _blocks(group.trunk, branches, header, drawn, tokenizer.specials)
    # Keep the blocks that fit, in order; each has the noise of its own index.
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
    """Return the ids of the tokens that end a path header: newlines, and the special tokens of the layout."""
    return np.array(sorted(tokenizer.newlines().union(tokenizer.forbidden)))


def _headers(trunk: Ids, tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    """Return whether each token of a trunk (T,) belongs to a path header.

    A path header is the first line after ``<file_sep>`` or ``<fim_prefix>``, including its newline. In a prompt without
    a path, this is the first line of the window, which almost no text before it helps to predict.
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
    """Place the blocks among the clean rows; return (first row, end of its text) of each, by the index of its noise.

    Each middle has two blocks: one at its beginning and, because a draft can begin at any token, one inside it. The
    others are in the trunk, between the path header and the cursor. Not all of them need fit into the context.
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
    """Lay out the rows of the trunk and the branches. learned (T,): whether each token of the trunk is a target."""
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
    # Special tokens, such as the cursor's, are not predicted.
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
    """Lay out the canvases of blocks: for each its anchor, then its tokens, some of them masked.

    blocks (B, 2): the first clean row of each block, and the end of the text that it belongs to. After the end of a
    middle, a canvas contains <eot> only. The canvases are computed as a table (C, W + 1), of which each row is then cut
    to the size of its canvas.
    """
    copies = 1 + drawn.paired
    # The block of each canvas (C,).
    which = np.repeat(np.arange(len(blocks)), copies)
    # 1 for the second canvas of a pair.
    second = np.arange(len(which)) - np.repeat(copies.cumsum() - copies, copies)
    # Both (C, 1).
    first, end = (column[:, None] for column in blocks[which].T)
    across = np.arange(_WIDEST + 1)
    # The clean rows of each anchor and of the tokens after it (C, W + 1).
    place = first - 1 + across
    real = place < end
    token = np.where(real, clean.ids[np.minimum(place, end - 1)], tokenizer.specials.eot)
    # Whether each token after the anchor is masked (C, W).
    masked = drawn.mask[which, second]
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
