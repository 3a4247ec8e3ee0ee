"""Parallel passes: the gradients are those of all passes, and a stopped step leaves none."""

from __future__ import annotations

import pytest
import torch
from support.models.tiny_models import tiny_network
from test_objective import contexts

from mercury_lsp.engine.tokenizer import Tokenizer
from model.training.batch import pack_contexts
from model.training.lanes import Lanes, alias
from model.training.layout import CAUSAL
from model.training.objective import Objective


def test_lanes_sum_the_gradients_of_all_passes(tokenizer: Tokenizer) -> None:
    passes = [pack_contexts([context]) for context in contexts(tokenizer, CAUSAL, 3)]
    worth = torch.tensor(sum(batch.worth for batch in passes))
    network, plain = tiny_network(1).requires_grad_(True), tiny_network(1).requires_grad_(True)
    lanes = Lanes(network, 2, lambda own: Objective(own, torch.float32, packed=True))
    for _ in range(2):
        sums = lanes.run(passes, worth, lambda: False)
        assert sums is not None
        losses = [Objective(plain, torch.float32)(batch, worth) for batch in passes]
        torch.stack([loss.total for loss in losses]).sum().backward()
        assert float(sums[4]) == pytest.approx(sum(float(loss.total.detach()) for loss in losses), rel=1e-5)
        for (name, one), two in zip(network.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6, msg=name)
            one.grad = two.grad = None


def test_a_stopped_step_leaves_no_gradient(tokenizer: Tokenizer) -> None:
    passes = [pack_contexts([context]) for context in contexts(tokenizer, CAUSAL, 3)]
    network = tiny_network(1).requires_grad_(True)
    lanes = Lanes(network, 2, lambda own: Objective(own, torch.float32, packed=True))
    stops = iter([False, False, True])
    assert lanes.run(passes, torch.tensor(1.0), lambda: next(stops)) is None
    for objective in lanes.objectives:
        assert all(weight.grad is None for weight in objective.network.parameters())
    assert all(weight.grad is None for weight in network.parameters())


def test_an_alias_shares_changes_of_the_weights() -> None:
    network = tiny_network(1).requires_grad_(True)
    other = alias(network)
    with torch.no_grad():
        network.embedding.weight.mul_(2)
    assert other.embedding.weight.equal(network.embedding.weight)
    assert other.embedding.weight is not network.embedding.weight
