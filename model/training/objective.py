"""Computes the training objective: next-token loss on clean rows, masked diffusion on canvases that attend to them.

The loss is a module, which Accelerate can wrap for several devices. The rows and their targets come from `layout`, the
attention function from `attention`.

A share of a row's target can be a *teacher's* distribution instead of the true token (Hinton et al. 2015). The
teacher's row is causal and sees all tokens before the predicted token, so a canvas learns to predict how its draft will
be verified, like the draft model of speculative decoding in DistillSpec (Zhou et al. 2024). The teacher is either a
larger network, for a pruned network to recover from; or the network itself at this step, whose causal rows teach its
canvases in the same pass.
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
    """The total to minimize, and sums (4,) without gradient.

    The sums are the nats and the count of next tokens, then the nats and the count of masked tokens.
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
        compiled: bool = False,
        teacher_share: float = 0.0,
        teacher: Network | None = None,
        packed: bool = False,
    ) -> None:
        """Create the loss of a network.

        dtype: the number format of matrix products. chunk: rows whose logits are computed at once, 0 for all. compiled:
        compile the network and the loss. teacher_share: the share of a target that is a teacher's distribution.
        teacher: a network with the same vocabulary; None if the causal rows teach the canvases. packed: the batches are
        packed, and their lengths differ.
        """
        super().__init__()
        self.network, self.dtype, self.chunk = network, dtype, chunk
        self.teacher_share, self.teacher = teacher_share, teacher
        self.fused = packed and next(network.parameters()).device.type == "cpu"
        if compiled and packed:
            for layer in network.layers:
                layer.compile(dynamic=True)
        elif compiled:
            network.compile(dynamic=False)
        self.compiled_nats = torch.compile(self.nats, dynamic=False) if compiled and chunk else self.nats

    def forward(self, batch: Batch, worth: Tensor | float | None = None) -> Loss:
        """Compute the loss of a batch, without waiting for the device. Only rows with a target get logits.

        worth: the total weight of the targets, to divide the loss by; by default that of this batch.
        """
        kept, none = batch.chosen.clamp(min=0), batch.chosen < 0
        target = batch.target.flatten()[kept].masked_fill(none, NO_TARGET)
        weight = batch.weight.flatten()[kept].masked_fill(none, 0.0)
        canvas = batch.is_canvas.flatten()[kept] & ~none
        with products(batch.ids.device, self.dtype):
            hidden = hidden_states(self.network, batch, self.dtype)
            given = [hidden.flatten(0, 1).index_select(0, kept), target]  # (K, W), (K,)
            if self.teacher_share:
                taught = canvas if self.teacher is None else ~none
                given += self.teacher_rows(batch, hidden.detach(), kept, taught)
            if self.fused and not self.teacher_share and torch.is_grad_enabled():
                scale = weight / ((batch.worth if worth is None else worth) + 1e-6)
                total, nats = cross_entropy(given[0], self.network.output_matrix, target, scale, self.dtype)
                return Loss(total, self.sums(nats, canvas, none))
            # The backward pass computes a chunk's logits again.
            if self.chunk and len(kept) > self.chunk:
                parts = zip(*(torch.split(value, self.chunk) for value in given), strict=True)
                made = [checkpoint(self.compiled_nats, *part, use_reentrant=False) for part in parts]
                nats, asked = (torch.cat(values) for values in zip(*made, strict=True))
            else:
                nats, asked = self.compiled_nats(*given)
        total = (asked * weight).sum() / ((batch.worth if worth is None else worth) + 1e-6)
        return Loss(total, self.sums(nats.detach(), canvas, none))

    @staticmethod
    def sums(nats: Tensor, canvas: Tensor, none: Tensor) -> Tensor:
        """Return `Loss.sums` of rows (K,). canvas, none: whether a row belongs to a canvas, or is padding."""
        clean = ~(canvas | none)
        sums = [(nats * clean).sum(), clean.sum(), (nats * canvas).sum(), canvas.sum()]
        return torch.stack([value.float() for value in sums])

    @torch.no_grad()
    def teacher_rows(
        self, batch: Batch, hidden: Tensor, kept: Tensor, taught: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the teacher's hidden rows (K, W) for the rows ``kept``, and their shares of the targets (K,).

        hidden: the network's own rows (N, L, W). taught: which rows of ``kept`` to teach, provided they have a twin.
        """
        # The teacher computes clean rows only.
        if self.teacher is not None:
            clean = batch.rows.map(lambda row: row[:, : batch.clean])
            attend, mask = attention(clean, batch.lengths, self.teacher.shape.group)
            hidden = self.teacher(batch.ids[:, : batch.clean], clean.position, mask, attend=attend)
        twin = batch.twin.flatten()[kept]
        row = kept // batch.ids.shape[1] * hidden.shape[1] + twin.clamp(min=0)
        return hidden.flatten(0, 1).index_select(0, row), self.teacher_share * (taught & (twin >= 0))

    def nats(
        self, hidden: Tensor, target: Tensor, told: Tensor | None = None, share: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return each row's cross-entropy with its target (K,), and the value to minimize (K,); 0 without a target.

        told: the teacher's hidden rows (K, W). share: the share (K,) of the teacher's distribution in the target of the
        value to minimize.
        """
        logits = self.network.logits(hidden).float()  # (K, V)
        hard = F.cross_entropy(logits, target, reduction="none", ignore_index=NO_TARGET)
        if told is None or share is None:
            return hard, hard
        with torch.no_grad():
            belief = (self.teacher or self.network).logits(told).float().softmax(-1)  # (K, V)
        # An einsum would compute K products of one row each.
        soft = logits.logsumexp(-1) - (belief * logits).sum(-1)
        return hard, hard + share * (soft - hard)


def hidden_states(network: Network, batch: Batch, dtype: torch.dtype) -> Tensor:
    """Return the network's hidden states (N, L, W) for a batch on its device. dtype: that of matrix products."""
    attend, mask = attention(batch.rows, batch.lengths, network.shape.group)
    with products(batch.ids.device, dtype):
        hidden: Tensor = network(batch.ids, batch.rows.position, mask, attend=attend)
    return hidden


def products(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return a context in which matrix products are computed in ``dtype``."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def loss_of(network: Network, batch: Batch, dtype: torch.dtype | None = None) -> Loss:
    """Return the joint loss of one batch.

    dtype: the number format of matrix products; by default the device's fastest.
    """
    dtype = dtype or fastest_dtype(next(network.parameters()).device)
    loss: Loss = Objective(network, dtype)(batch)
    return loss
