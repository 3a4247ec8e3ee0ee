"""Runs the passes of a step side by side on threads, each with gradients of its own.

On a few shared cores this loses less than one pass on all cores, whose every operation waits for the slowest core. The
share of each thread is fixed by the number of the pass, so that a resumed run adds the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from model.layout import Batch
from model.objective import Loss


class Lanes:
    """Threads for the passes of a processor's steps. weights: those that learn."""

    def __init__(self, weights: Sequence[Tensor], count: int) -> None:
        threads = max(1, torch.get_num_threads() // count)
        self._weights, self._count = list(weights), count
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(threads,))

    def run(
        self, passes: Sequence[Batch], loss_of: Callable[[Batch], Loss], stopped: Callable[[], bool]
    ) -> Tensor | None:
        """Add the gradients of all passes to those of the weights; returns the sums (5,) of `Loss` and of the losses.

        None, with nothing added, if ``stopped`` says so between two passes.
        """

        def lane(own: Sequence[Batch]) -> tuple[Tensor, list[Tensor]] | None:
            sums, gradients = torch.zeros(5), []
            for batch in own:
                if stopped():
                    return None
                loss = loss_of(batch)
                made = torch.autograd.grad(loss.total, self._weights)
                if gradients:
                    torch._foreach_add_(gradients, made)
                else:
                    gradients = list(made)
                sums += torch.cat((loss.sums, loss.total.detach()[None]))
            return sums, gradients

        shares = [passes[number :: self._count] for number in range(self._count)]
        futures = [self._pool.submit(lane, own) for own in shares if own]
        results = [future.result() for future in futures]
        whole = torch.zeros(5)
        done = [result for result in results if result is not None]
        if len(done) < len(results):
            return None
        for sums, gradients in done:
            whole += sums
            for weight, gradient in zip(self._weights, gradients, strict=True):
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        return whole
