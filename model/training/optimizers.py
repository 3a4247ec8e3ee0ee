"""Creates the optimizers of a training run, and takes their steps."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from model.training.recipe import Recipe


def optimizers(trained: Mapping[str, nn.Parameter], recipe: Recipe) -> list[Optimizer]:
    """Create AdamW for ``trained``, the trained weights by name; or, for the layers' matrices, Muon if the recipe asks.

    Muon (Jordan et al. 2024) moves a matrix by its orthogonalized momentum, scaled to the size of AdamW's steps
    (Liu et al. 2025), so one learning rate fits both. Exits with a message if the recipe names another optimizer.
    """
    if recipe.optimizer not in ("adamw", "muon"):
        sys.exit(f"The recipe's optimizer must be 'adamw' or 'muon', not {recipe.optimizer!r}.")
    muon = recipe.optimizer == "muon"
    turned = [weight for name, weight in trained.items() if muon and weight.ndim == 2 and "layers." in name]
    rest = [weight for weight in trained.values() if not any(weight is other for other in turned)]
    groups = [
        {"params": [weight for weight in rest if weight.ndim == 2], "weight_decay": recipe.weight_decay},
        {"params": [weight for weight in rest if weight.ndim != 2], "weight_decay": 0.0},
    ]
    made: list[Optimizer] = [AdamW(groups, lr=recipe.rate, betas=recipe.betas, fused=True)]
    if turned:
        made.append(
            Muon(
                turned,
                lr=recipe.rate,
                weight_decay=recipe.weight_decay,
                momentum=recipe.betas[1],
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return made


def advance(made: Sequence[Optimizer], norm: Tensor) -> None:
    """Take a step of each optimizer and clear the gradients; if their norm is not finite, leave the weights as is."""
    for optimizer in made:
        if isinstance(optimizer, AdamW):
            # As in GradScaler: the fused kernel then changes nothing, and the host does not wait for the norm.
            optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
            optimizer.step()
        elif bool(norm.isfinite()):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
