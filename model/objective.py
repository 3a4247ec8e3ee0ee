"""The training objective: next-token loss on clean rows, masked diffusion on canvases that attend to them.

Owns the assembly of a context (trunk, branches, canvases) into one row sequence, and the loss. Knows no files and no
optimiser; who sees whom is `network.visible`, what is masked and how it weighs is `noise`, the layout of tokens is
`canvas.encode`.

A context is ``[trunk | branches | canvases]``. The trunk is what the prompts of a group of holes have in common; each
branch is the rest of one prompt, its middle and ``<eot>``. On the branches' middles, and on plain blocks of the
trunk, hang canvases, all masked or in pairs with complementary masks, each blind to all others: one pass over the context trains
them all (the vectorised training of BD3-LM, Arriola et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from os.path import commonprefix

import torch
from torch import Tensor
from torch.nn import functional as F

from mercury_lsp.engine import noise
from mercury_lsp.engine.canvas import Tokenizer, encode
from mercury_lsp.engine.network import Network, Rows
from model.attention import attention
from model.spans import Hole

BLOCK_SIZES = {6: 0.4, 8: 0.3, 16: 0.3}  # drawn blindly of the middle's length, which they must not betray
NO_TARGET = -100


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the loss."""

    trunk: float = 0.3  # next token, on text that the base model could mostly read already
    trunk_share: float = 1.0  # of the trunk's rows that go through the costly vocabulary at all
    middle: float = 2.0  # next token, on the hole: what a verified draft must agree with
    canvas: float = 0.4  # masked tokens
    filling: float = 0.1  # an <eot> behind the first one


@dataclass(frozen=True, slots=True)
class Batch:
    """Contexts as tensors. ids, target: int (N, L); weight: float (N, L); rows: (N, L) each; masked: canvas targets."""

    ids: Tensor
    rows: Rows
    target: Tensor
    weight: Tensor
    is_canvas: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        rows = moved.pop("rows").map(lambda row: row.to(device, non_blocking=True))
        return Batch(
            rows=rows, **{name: value.to(device, non_blocking=True) for name, value in moved.items()}
        )


@dataclass(slots=True)
class _Context:
    """Rows of one context under construction, as lists."""

    ids: list[int]
    position: list[int]
    start: list[int]
    canvas: list[int]
    branch: list[int]
    fork: list[int]
    target: list[int]
    weight: list[float]

    @classmethod
    def empty(cls) -> _Context:
        return cls([], [], [], [], [], [], [], [])

    def __len__(self) -> int:
        return len(self.ids)

    def clean(self, ids: Sequence[int], first: int, branch: int, fork: int) -> None:
        """Append known tokens from position ``first`` on; targets are set afterwards."""
        n = len(ids)
        self.ids += ids
        self.position += range(first, first + n)
        self.start += range(first + 1, first + n + 1)
        self.canvas += [0] * n
        self.branch += [branch] * n
        self.fork += [fork] * n
        self.target += [NO_TARGET] * n
        self.weight += [0.0] * n

    def block(
        self, canvas: _Canvas, masked: Sequence[bool], loss: Sequence[float], mask_id: int, number: int
    ) -> None:
        """Append one canvas of a block: the anchor, then its tokens with the masked ones hidden."""
        first, branch, fork = canvas.place
        truth = canvas.truth
        n = len(truth)
        self.ids += [
            canvas.anchor,
            *(mask_id if hidden else token for token, hidden in zip(truth, masked, strict=True)),
        ]
        self.position += range(first - 1, first + n)
        self.start += [first] * (n + 1)
        self.canvas += [number] * (n + 1)
        self.branch += [branch] * (n + 1)
        self.fork += [fork] * (n + 1)
        self.target += [
            *(t if hidden else NO_TARGET for t, hidden in zip(truth, masked, strict=True)),
            NO_TARGET,
        ]
        self.weight += [
            *(w * v if hidden else 0.0 for w, v, hidden in zip(loss, canvas.worth, masked, strict=True)),
            0.0,
        ]


@dataclass(frozen=True, slots=True)
class _Canvas:
    """One block to be drafted: its anchor and tokens, what each is worth, and the canvases drawn for it (C, size)."""

    anchor: int
    truth: list[int]
    worth: list[float]
    masks: Tensor
    loss: Tensor
    place: tuple[int, int, int]  # first position, branch, fork


def assemble(
    group: Sequence[Hole], tokenizer: Tokenizer, length: int, weights: Weights, generator: torch.Generator
) -> _Context | None:
    """One context of at most ``length`` rows from a group of holes; None where not even one hole fits."""
    special = tokenizer.specials
    prompts = [list(encode(hole.prompt, tokenizer)) for hole in group]
    middles = [[*tokenizer.encode(hole.middle), special.eot] for hole in group]
    trunk, kept = _trunk(prompts)
    context = _Context.empty()
    context.clean(trunk, 0, 0, 0)
    n = len(trunk)
    context.fork = list(range(1, n + 1))
    last_special = max(tokenizer.hidden)  # they come first in the vocabulary, and nothing predicts a cursor
    learned = (torch.rand(n, generator=generator) < weights.trunk_share).tolist()
    for i in range(n - 1):
        if learned[i] and trunk[i + 1] > last_special:
            context.target[i], context.weight[i] = trunk[i + 1], weights.trunk
    canvases: list[_Canvas] = []
    branch = 0
    room = length - n
    for index in kept:
        tail, middle = prompts[index][n:], middles[index]
        places = {0, int(torch.randint(len(middle), (), generator=generator))}  # a draft may begin at any token
        drawn = [(at, *_draw(generator)) for at in sorted(places)]
        cost = len(tail) + len(middle) + sum(masks.shape[0] * (masks.shape[1] + 1) for _, masks, _ in drawn)
        if cost > room:
            continue
        room -= cost
        branch += 1
        offset = len(context)
        context.clean([*tail, *middle], n, branch, n)
        for i, token in enumerate(middle):
            row = offset + len(tail) + i - 1
            context.target[row], context.weight[row] = token, weights.middle
        for at, masks, loss in drawn:
            size = masks.shape[1]
            truth = middle[at : at + size]
            worth = [weights.canvas] * len(truth) + [weights.filling * weights.canvas] * (size - len(truth))
            truth = truth + [special.eot] * (size - len(truth))
            anchor = [*tail, *middle][len(tail) + at - 1]
            canvases.append(_Canvas(anchor, truth, worth, masks, loss, (n + len(tail) + at, branch, n)))
    if branch == 0 or special.fim_prefix not in trunk:
        return None
    body = trunk.index(special.fim_prefix) + 9
    while room > min(BLOCK_SIZES) < n - body:  # what is left of the budget goes to plain blocks of the file
        masks, loss = _draw(generator)
        size = masks.shape[1]
        if size >= n - body or masks.shape[0] * (size + 1) > room:
            continue
        room -= masks.shape[0] * (size + 1)
        at = int(torch.randint(body, n - size + 1, (), generator=generator))
        worth = [weights.canvas] * size
        canvases.append(_Canvas(trunk[at - 1], trunk[at : at + size], worth, masks, loss, (at, 0, at)))
    number = 0
    for canvas in canvases:
        for hidden, value in zip(canvas.masks.tolist(), canvas.loss.tolist(), strict=True):
            number += 1
            context.block(canvas, hidden, value, special.mask, number)
    return context


def _trunk(prompts: list[list[int]]) -> tuple[list[int], list[int]]:
    """The longest start that most prompts share, and which prompts share it.

    A prompt whose window begins elsewhere than the first one's shares next to nothing, and is left out.
    """
    kept = [i for i, ids in enumerate(prompts) if len(commonprefix([prompts[0], ids])) > len(prompts[0]) // 2]
    shared: list[int] = commonprefix([prompts[i] for i in kept])
    if len(kept) == 1:
        shared = shared[:-1]  # a branch holds at least <fim_middle>, the middle's anchor
    return shared, kept


def _draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The canvases of a block of some size: masks and loss weights (C, size)."""
    share = torch.tensor(list(BLOCK_SIZES.values()))
    return noise.draw(list(BLOCK_SIZES)[int(torch.multinomial(share, 1, generator=generator))], generator)


def collate(contexts: Sequence[_Context], length: int, filler: int) -> Batch:
    """Contexts padded to ``length`` rows. Padding rows see one another only, and have no target."""
    columns: dict[str, list[Tensor]] = {f.name: [] for f in fields(_Context)}
    padding = {"ids": filler, "start": 0, "canvas": 1 << 20, "target": NO_TARGET}
    for context in contexts:
        for name, column in columns.items():
            values = torch.tensor(getattr(context, name))
            column.append(F.pad(values, (0, length - len(values)), value=padding.get(name, 0)))
    stacked = {name: torch.stack(column) for name, column in columns.items()}
    rows = Rows(*(stacked[f.name] for f in fields(Rows)))
    is_canvas = rows.canvas > 0
    return Batch(stacked["ids"], rows, stacked["target"], stacked["weight"], is_canvas)


@dataclass(frozen=True, slots=True)
class Loss:
    """Scalars of one batch: the total to minimise, and what it is made of (mean nats, no gradient)."""

    total: Tensor
    next_token: Tensor
    masked: Tensor
    targets: int
    masked_targets: int


def loss_of(network: Network, batch: Batch, dtype: torch.dtype) -> Loss:
    """The joint loss of a batch. Only rows with a target go through the vocabulary."""
    attend, mask = attention(batch.rows)
    device = batch.ids.device.type
    with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
        hidden = network(batch.ids, batch.rows.position, mask, attend=attend)
        chosen = batch.target != NO_TARGET
        logits = network.logits(hidden[chosen])
    nats = F.cross_entropy(logits.float(), batch.target[chosen], reduction="none")
    weight, canvas = batch.weight[chosen], batch.is_canvas[chosen]
    total = (nats * weight).sum() / (weight.sum() + 1e-6)
    plain = nats.detach()
    nothing = plain.new_zeros(())
    return Loss(
        total,
        plain[~canvas].mean() if bool((~canvas).any()) else nothing,
        plain[canvas].mean() if bool(canvas.any()) else nothing,
        int(chosen.sum()),
        int(canvas.sum()),
    )
