"""Training of scales only: the gradient of a factor, unchanged levels, and a falling loss."""

from __future__ import annotations

import pytest
import torch
from support.models.tiny_models import tiny_network

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints.pack import Packed
from model.compression.group_scales import GroupScales
from model.compression.quantization_grid import pack, unpack

IDS = torch.arange(24)[None]
GROUP = 32


def packed_network() -> tuple[Network, dict[str, Packed]]:
    network = tiny_network().requires_grad_(True)
    weights = {}
    for name, weight in network.matrices():
        planes, scale = pack(weight.detach(), 4, GROUP)
        weights[name] = Packed(planes.numpy(), scale.numpy())
        weight.data.copy_(unpack(planes, scale))
    return network, weights


def loss(network: Network) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(network.logits(network(IDS, IDS)[0, :-1]), IDS[0, 1:])


def test_a_factor_gets_the_gradient_of_the_loss() -> None:
    network, weights = packed_network()
    scales = GroupScales(network, weights, GROUP)
    loss(network).backward()
    scales.take_gradients()
    name = "layers.0.down.weight"
    found = scales.factors[name].grad
    assert found is not None
    assert network.get_parameter(name).grad is None
    step = 0.01
    for place in [(0, 0), (3, 1)]:
        ends = []
        for move in (step, -step):
            matrix = torch.from_numpy(weights[name].matrix()).view(*found.shape, -1)
            matrix[place] *= torch.tensor(move).exp()
            network.get_parameter(name).data.copy_(matrix.view(weights[name].shape))
            ends.append(loss(network).item())
        assert float(found[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02, abs=1e-5)


def test_initial_factors_do_not_change_the_weights() -> None:
    network, weights = packed_network()
    before = {name: weight.detach().clone() for name, weight in network.matrices()}
    GroupScales(network, weights, GROUP).write()
    for name, weight in network.matrices():
        assert weight.detach().equal(before[name]), name


def test_training_of_scales_lowers_the_loss_and_keeps_every_level() -> None:
    network, weights = packed_network()
    scales = GroupScales(network, weights, GROUP)
    optimizer = torch.optim.AdamW(scales.factors.values(), lr=0.02)
    first = loss(network).item()
    for _ in range(20):
        loss(network).backward()
        scales.take_gradients()
        optimizer.step()
        scales.write()
    assert loss(network).item() < 0.9 * first
    for name, weight in network.matrices():
        planes, scale = pack(weight.detach(), 4, GROUP, scales.scales()[name])
        kept = Packed(planes.numpy(), scale.numpy())
        assert (kept.levels() == weights[name].levels()).all()
        # The shipped weights equal the trained ones.
        assert torch.from_numpy(kept.matrix()).equal(weight.detach())


def test_a_frozen_matrix_has_no_factors() -> None:
    network, weights = packed_network()
    network.embedding.requires_grad_(False)
    scales = GroupScales(network, weights, GROUP)
    assert "embedding.weight" not in scales.factors
    assert "layers.0.down.weight" in scales.factors


def test_the_error_names_a_matrix_that_is_not_packed() -> None:
    network, weights = packed_network()
    unpacked = {**weights, "layers.0.down.weight": weights["layers.0.down.weight"].matrix()}
    with pytest.raises(ValueError, match=r"layers\.0\.down\.weight is not packed"):
        GroupScales(network, unpacked, GROUP)
    with pytest.raises(ValueError, match="is not packed"):
        GroupScales(network, weights, 2 * GROUP)
