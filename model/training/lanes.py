"""Runs the passes of a step in parallel threads, each with its own gradients.

On a few shared cores this is faster than one pass on all cores, in which every operation waits for the slowest core.
The pass number determines the thread, so a resumed run adds the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import torch
from torch import Tensor, nn

from mercury_lsp.engine.backends.network import Network
from model.training.batch import Batch
from model.training.objective import Objective


class Lanes:
    """Threads for the passes of a training step on a CPU, each with an objective over the same weights."""

    def __init__(self, network: Network, count: int, objective: Callable[[Network], Objective]) -> None:
        threads = max(1, torch.get_num_threads() // count)
        self._network = network
        self.objectives = [objective(alias(network)) for _ in range(count)]
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(threads,))

    def run(self, passes: Sequence[Batch], worth: Tensor, stopped: Callable[[], bool]) -> Tensor | None:
        """Add up the gradients of all passes; return sums (5,): those of `Loss`, and of the losses.

        worth: see `Objective.forward`. If ``stopped`` returns true between two passes, return None and set no gradient.
        """

        def lane(objective: Objective, own: Sequence[Batch]) -> Tensor | None:
            sums = torch.zeros(5)
            for batch in own:
                if stopped():
                    return None
                loss = objective(batch, worth)
                loss.total.backward()
                sums += torch.cat((loss.sums, loss.total.detach()[None]))
            return sums

        count = len(self.objectives)
        shares = [passes[number::count] for number in range(count)]
        results = list(self._pool.map(lane, self.objectives, shares))
        sums = [result for result in results if result is not None]
        for objective in self.objectives:
            pairs = zip(self._network.parameters(), objective.network.parameters(), strict=True)
            for weight, own in pairs:
                if own.grad is not None and len(sums) == count:
                    weight.grad = own.grad if weight.grad is None else weight.grad.add_(own.grad)
                own.grad = None
        return torch.stack(sums).sum(0) if len(sums) == count else None


def alias(network: Network) -> Network:
    """Return a network that shares the weights' memory but has its own gradients."""
    same = {
        id(weight): nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
        for weight in network.parameters()
    }
    return deepcopy(network, same)
