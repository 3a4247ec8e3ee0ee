"""Prepares weights for few bits, column by column, so that later columns make up for what one loses by rounding.

Owns GPTQ (Frantar et al. 2022) on the grid of `quantization_grid`: the second moments of each matrix's inputs, and the
values whose rounding leaves the outputs nearest to what they were. Rounding each weight by itself costs `small` about
0.024 nats on the tokens of holes. The embedding, whose inputs are single tokens, is not its concern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from mercury_lsp.engine.backends.network import Network
from model.compression.quantization_grid import nearest_scale, quantize

DAMPING = 0.01  # of the mean second moment, so that inputs hardly ever seen do not make the inverse explode


def moments(network: Network, run: Callable[[], Iterable[object]]) -> dict[str, Tensor]:
    """X^T X of the inputs of each linear layer, by its weight's name, over the passes that ``run`` makes."""
    found: dict[str, Tensor] = {}
    handles = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear):

            def see(_: nn.Module, given: tuple[Tensor, ...], key: str = f"{name}.weight") -> None:
                x = given[0].detach().flatten(0, -2)  # (rows, C)
                # In bf16 the sums would not be positive definite.
                with torch.autocast(x.device.type, enabled=False):
                    found[key] = found.get(key, 0) + x.float().T @ x.float()

            handles.append(layer.register_forward_pre_hook(see))
    try:
        with torch.no_grad():
            for _ in run():
                pass
    finally:
        for handle in handles:
            handle.remove()
    return found


def gptq(
    network: Network, found: Mapping[str, Tensor], bits: Callable[[str], int], group: int
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The names, values and scales, as `gptq_matrix` makes them, of the matrices whose `moments` were found.

    The network stays as it is. bits: of the matrix of a name.
    """
    weights = dict(network.matrices())
    for name, moment in found.items():
        yield name, *gptq_matrix(weights[name], moment, bits(name), group)


def gptq_matrix(weight: Tensor, moment: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor]:
    """Adjust a matrix so that rounding each value to the nearest level gives GPTQ's matrix.

    Returns the values (R, C), each corrected for the rounding errors of the columns before it, and the scales fp16
    (R, C / group), both on the CPU. moment: (C, C), of the matrix's inputs.
    """
    w = weight.detach().to("cpu", torch.float32, copy=True)
    columns, top = w.shape[1], 2 ** (bits - 1) - 1
    moment = moment.cpu().double()
    damped = moment + DAMPING * moment.diagonal().mean() * torch.eye(columns)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True).float()
    scales = []
    for first in range(0, columns, group):
        last = first + group
        scale = nearest_scale(w[:, first:last], top)
        scales.append(scale)
        errors = torch.empty(w.shape[0], group)
        for j in range(first, last):
            column = w[:, j : j + 1]
            kept = quantize(column, scale, top) * scale
            error = (column - kept) / inverse[j, j]
            w[:, j + 1 : last] -= error * inverse[j, j + 1 : last]
            errors[:, j - first] = error.squeeze(1)
        w[:, last:] -= errors @ inverse[first:last, last:]
    return w, torch.cat(scales, 1).half()
