"""Quantization-aware training: rounded weights within a step, unrounded ones after it, and a smaller loss."""

from __future__ import annotations

import torch
from support.models.tiny_models import tiny_network

from mercury_lsp.engine.backends.network import Network
from model.compression.quantization_grid import pack, unpack
from model.compression.rounding import Rounding

IDS = torch.arange(24)[None]
GROUP = 32


def packed_weights(network: Network, bits: int) -> dict[str, torch.Tensor]:
    return {name: unpack(*pack(weight.detach(), bits, GROUP)) for name, weight in network.matrices()}


def fixed_rounding(network: Network, bits: int) -> Rounding:
    rounding = Rounding(network, lambda name: bits, GROUP)
    rounding.fix({})
    return rounding


def test_a_step_runs_on_rounded_weights_and_restores_the_unrounded_ones() -> None:
    network = tiny_network().requires_grad_(True)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    expected = packed_weights(network, 4)
    rounding = fixed_rounding(network, 4)
    with rounding.step():
        for name, weight in network.matrices():
            torch.testing.assert_close(weight.detach(), expected[name])
        network(IDS, IDS).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.detach().equal(before[name])
        assert name == "embedding.weight" or (weight.grad is not None and bool(weight.grad.any()))


def test_unrounded_weights_are_restored_after_an_error() -> None:
    network = tiny_network().requires_grad_(True)
    before = network.embedding.weight.detach().clone()
    rounding = fixed_rounding(network, 3)
    try:
        with rounding.step():
            assert not network.embedding.weight.equal(before)
            raise MemoryError
    except MemoryError:
        pass
    assert network.embedding.weight.equal(before)


def test_frozen_weights_are_not_rounded() -> None:
    network = tiny_network().requires_grad_(True)
    network.embedding.requires_grad_(False)
    embedding, down = network.embedding.weight.clone(), network.layers[0].get_parameter("down.weight")
    before = down.detach().clone()
    with fixed_rounding(network, 2).step():
        assert network.embedding.weight.equal(embedding)
        assert not down.equal(before)


def loss(network: Network) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(network.logits(network(IDS, IDS)[0, :-1]), IDS[0, 1:])


def test_training_with_rounding_gives_a_lower_loss_after_packing() -> None:
    lost = []
    for aware in (False, True):
        network = tiny_network().requires_grad_(True)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        rounding = fixed_rounding(network, 2)
        for _ in range(60):
            if aware:
                with rounding.step():
                    loss(network).backward()
            else:
                loss(network).backward()
            optimizer.step()
            optimizer.zero_grad()
        for name, values in packed_weights(network, 2).items():
            network.get_parameter(name).data.copy_(values)
        lost.append(float(loss(network).detach()))
    assert lost[1] < 0.9 * lost[0]
