"""The training objective: next-token loss on clean rows, masked diffusion on canvases that attend to them.

Owns the loss of a batch, as a function and as a module that an engine for several devices can wrap. Knows no files
and no optimiser; the rows and their targets are `layout`'s, the way to attend is `attention`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mercury_lsp.engine.network import Network
from model.attention import attention
from model.layout import NO_TARGET, Batch


@dataclass(frozen=True, slots=True)
class Loss:
    """The total to minimise, and sums without gradient (4,) of what it is made of.

    The sums are the nats of next tokens and how many they are, then those of masked tokens.
    """

    total: Tensor
    sums: Tensor


class Objective(nn.Module):
    """The joint loss of a network over batches."""

    def __init__(self, network: Network, dtype: torch.dtype, chunk: int = 0, fast: bool = False) -> None:
        """``chunk``: rows that go through the vocabulary at once, 0 for all; ``fast``: compile what has one shape."""
        super().__init__()
        self.network, self.dtype, self.chunk = network, dtype, chunk
        if fast:
            network.compile(dynamic=False)
        self.compiled_nats = torch.compile(self.nats, dynamic=False) if fast and chunk else self.nats

    def forward(self, batch: Batch, worth: Tensor | float | None = None) -> Loss:
        """The loss of a batch. Only rows with a target go through the vocabulary, and nothing waits for the device.

        worth: the targets' weight by which to divide, where it is not this batch's alone.
        """
        attend, mask = attention(batch.rows)
        kept, none = batch.chosen.clamp(min=0), batch.chosen < 0
        target = batch.target.flatten()[kept].masked_fill(none, NO_TARGET)
        weight = batch.weight.flatten()[kept].masked_fill(none, 0.0)
        canvas = batch.is_canvas.flatten()[kept] & ~none
        with torch.autocast(batch.ids.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            hidden = self.network(batch.ids, batch.rows.position, mask, attend=attend)
            hidden = hidden.flatten(0, 1).index_select(0, kept)  # (K, W)
            if self.chunk and len(kept) > self.chunk:  # a chunk's logits are made again for its gradient
                parts = zip(torch.split(hidden, self.chunk), torch.split(target, self.chunk), strict=True)
                nats = torch.cat(
                    [checkpoint(self.compiled_nats, *part, use_reentrant=False) for part in parts]
                )
            else:
                nats = self.compiled_nats(hidden, target)
        total = (nats * weight).sum() / ((batch.worth if worth is None else worth) + 1e-6)
        plain, clean = nats.detach(), ~(canvas | none)
        sums = [(plain * clean).sum(), clean.sum(), (plain * canvas).sum(), canvas.sum()]
        return Loss(total, torch.stack([value.float() for value in sums]))

    def nats(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of each row (K,); zero where there is no target."""
        logits = self.network.logits(hidden).float()  # (K, V)
        return F.cross_entropy(logits, target, reduction="none", ignore_index=NO_TARGET)


def loss_of(network: Network, batch: Batch, dtype: torch.dtype) -> Loss:
    """The joint loss of one batch."""
    loss: Loss = Objective(network, dtype)(batch)
    return loss
