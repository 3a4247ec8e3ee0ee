"""GPTQ: outputs closer to the original than after rounding each weight alone."""

from __future__ import annotations

import torch
from support.models.tiny_models import tiny_network

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from model.compression.quantization_grid import pack, unpack
from model.compression.quantize import gptq_matrix, moments


def correlated_inputs(rows: int = 512, columns: int = 128) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(rows, 8) @ torch.randn(8, columns) + 0.3 * torch.randn(rows, columns)


def test_outputs_are_closer_than_after_rounding_each_weight_alone() -> None:
    x = correlated_inputs()
    weight = torch.randn(96, 128)
    values, scale = gptq_matrix(weight, x.T @ x, 4, 64)
    values = unpack(*pack(values, 4, 64, scale))
    plain = unpack(*pack(weight, 4, 64))
    error, before = ((x @ (each - weight).T).square().mean() for each in (values, plain))
    assert error < 0.6 * before


def test_packing_keeps_rounded_values() -> None:
    x = correlated_inputs()
    values, scale = gptq_matrix(torch.randn(96, 128), x.T @ x, 5, 64)
    values = unpack(*pack(values, 5, 64, scale))
    torch.testing.assert_close(unpack(*pack(values, 5, 64, scale)), values)


def test_constant_inputs_give_finite_weights() -> None:
    weight = torch.randn(32, 64)
    values, _ = gptq_matrix(weight, torch.ones(64, 64), 6, 64)
    assert bool(values.isfinite().all())
    assert float((values - weight).abs().max()) < 1


def test_moments_are_those_of_the_inputs_of_each_linear_layer() -> None:
    network = tiny_network()
    rows = TokenLayout.clean(0, 12).map(torch.from_numpy)
    ids = torch.arange(12)[None]
    found = moments(network, lambda: [network(ids, rows.position[None], attention_mask(rows, rows)[None])])
    linear = {name for name, _ in network.matrices()} - {"embedding.weight"}
    assert set(found) == linear
    normed = network.layers[0].attention_norm(network.embedding(ids))[0]  # type: ignore[operator]
    torch.testing.assert_close(found["layers.0.attention.qkv.weight"], normed.T @ normed)
