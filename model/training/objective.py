"""Computes the training objective: next-token loss on clean rows, masked diffusion on canvases that attend to them.

Owns the loss of a batch, as a function and as a module that an engine for several devices can wrap. Knows no files
and no optimizer; the rows and their targets are `layout`'s, the way to attend is `attention`'s.

A share of what a row is to predict can be a *teacher's* distribution instead of the author's token (Hinton et al.
2015). The teacher's row is a causal one that knows all tokens before the predicted one, so a canvas learns what
verification will say to its draft, as the drafter of speculative decoding does in DistillSpec (Zhou et al. 2024). The
teacher is a larger network, from which a pruned one recovers; or the network itself as it is at this step, whose
causal rows then teach its canvases in the same pass.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mercury_lsp.engine.backends.network import Network
from model.training.attention import attention
from model.training.batch import Batch
from model.training.fused_loss import cross_entropy
from model.training.hardware import fastest_dtype
from model.training.layout import NO_TARGET


@dataclass(frozen=True, slots=True)
class Loss:
    """The total to minimise, and sums without gradient (4,) of what it is made of.

    The sums are the nats of next tokens and how many they are, then those of masked tokens.
    """

    total: Tensor
    sums: Tensor


class Objective(nn.Module):
    """The joint loss of a network over batches."""

    def __init__(
        self,
        network: Network,
        dtype: torch.dtype,
        chunk: int = 0,
        fast: bool = False,
        taught: float = 0.0,
        teacher: Network | None = None,
        packed: bool = False,
    ) -> None:
        """``chunk``: rows that go through the vocabulary at once, 0 for all; ``fast``: compile what has one shape;
        ``taught``: share of a target that is a teacher's distribution; ``teacher``: of the same vocabulary, and None
        where the causal rows are to teach the canvases; ``packed``: batches are, and their lengths differ.
        """
        super().__init__()
        self.network, self.dtype, self.chunk = network, dtype, chunk
        self.taught, self.teacher = taught, teacher
        self.fused = packed and next(network.parameters()).device.type == "cpu"
        if fast and packed:
            for layer in network.layers:
                layer.compile(dynamic=True)
        elif fast:
            network.compile(dynamic=False)
        self.compiled_nats = torch.compile(self.nats, dynamic=False) if fast and chunk else self.nats

    def forward(self, batch: Batch, worth: Tensor | float | None = None) -> Loss:
        """The loss of a batch. Only rows with a target go through the vocabulary, and nothing waits for the device.

        worth: the targets' weight by which to divide, where it is not this batch's alone.
        """
        kept, none = batch.chosen.clamp(min=0), batch.chosen < 0
        target = batch.target.flatten()[kept].masked_fill(none, NO_TARGET)
        weight = batch.weight.flatten()[kept].masked_fill(none, 0.0)
        canvas = batch.is_canvas.flatten()[kept] & ~none
        with products(batch.ids.device, self.dtype):
            hidden = hidden_states(self.network, batch, self.dtype)
            given = [hidden.flatten(0, 1).index_select(0, kept), target]  # (K, W), (K,)
            if self.taught:
                taught = canvas if self.teacher is None else ~none
                given += self.teacher_rows(batch, hidden.detach(), kept, taught)
            if self.fused and not self.taught and torch.is_grad_enabled():
                scale = weight / ((batch.worth if worth is None else worth) + 1e-6)
                total, nats = cross_entropy(given[0], self.network.output_matrix, target, scale, self.dtype)
                return Loss(total, self.sums(nats, canvas, none))
            if self.chunk and len(kept) > self.chunk:  # a chunk's logits are made again for its gradient
                parts = zip(*(torch.split(value, self.chunk) for value in given), strict=True)
                made = [checkpoint(self.compiled_nats, *part, use_reentrant=False) for part in parts]
                nats, asked = (torch.cat(values) for values in zip(*made, strict=True))
            else:
                nats, asked = self.compiled_nats(*given)
        total = (asked * weight).sum() / ((batch.worth if worth is None else worth) + 1e-6)
        return Loss(total, self.sums(nats.detach(), canvas, none))

    @staticmethod
    def sums(nats: Tensor, canvas: Tensor, none: Tensor) -> Tensor:
        """What `Loss.sums` are, of each row's nats, and which rows are canvases' and which none at all. (K,) each"""
        clean = ~(canvas | none)
        sums = [(nats * clean).sum(), clean.sum(), (nats * canvas).sum(), canvas.sum()]
        return torch.stack([value.float() for value in sums])

    @torch.no_grad()
    def teacher_rows(
        self, batch: Batch, hidden: Tensor, kept: Tensor, taught: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The teacher's hidden rows (K, W) for the rows ``kept``, and which share each has of the target (K,).

        hidden: the network's own rows (N, L, W). taught: which of ``kept`` are, where they have a twin.
        """
        if self.teacher is not None:  # it is asked for clean rows only
            clean = batch.rows.map(lambda row: row[:, : batch.clean])
            attend, mask = attention(clean, batch.lengths, self.teacher.shape.group)
            hidden = self.teacher(batch.ids[:, : batch.clean], clean.position, mask, attend=attend)
        twin = batch.twin.flatten()[kept]
        row = kept // batch.ids.shape[1] * hidden.shape[1] + twin.clamp(min=0)
        return hidden.flatten(0, 1).index_select(0, row), self.taught * (taught & (twin >= 0))

    def nats(
        self, hidden: Tensor, target: Tensor, told: Tensor | None = None, share: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each row with its target (K,), zero where there is none; and that to be minimised, with
        the teacher's distribution as ``share`` of the target."""
        logits = self.network.logits(hidden).float()  # (K, V)
        hard = F.cross_entropy(logits, target, reduction="none", ignore_index=NO_TARGET)
        if told is None or share is None:
            return hard, hard
        with torch.no_grad():
            belief = (self.teacher or self.network).logits(told).float().softmax(-1)  # (K, V)
        soft = logits.logsumexp(-1) - (belief * logits).sum(
            -1
        )  # an einsum would be K products of one row each
        return hard, hard + share * (soft - hard)


def hidden_states(network: Network, batch: Batch, dtype: torch.dtype) -> Tensor:
    """A network's output (N, L, W) for the rows of a batch on its device. dtype: of products."""
    attend, mask = attention(batch.rows, batch.lengths, network.shape.group)
    with products(batch.ids.device, dtype):
        hidden: Tensor = network(batch.ids, batch.rows.position, mask, attend=attend)
    return hidden


def products(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """The context in which matrices are multiplied in a number format."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def loss_of(network: Network, batch: Batch, dtype: torch.dtype | None = None) -> Loss:
    """The joint loss of one batch. dtype: of products, the device's fastest by default."""
    dtype = dtype or fastest_dtype(next(network.parameters()).device)
    loss: Loss = Objective(network, dtype)(batch)
    return loss
