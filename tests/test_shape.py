"""Shapes: that the weights they name are the network's."""

from __future__ import annotations

import pytest
from conftest import TINY, tiny_network

from mercury_lsp.engine.shape import Shape


def test_the_weights_of_a_shape_are_the_networks() -> None:
    network = tiny_network()
    assert TINY.weights() == {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    assert TINY.parameters == sum(weight.numel() for weight in network.parameters())


def test_a_shape_with_a_wrong_field_is_refused() -> None:
    with pytest.raises(TypeError):
        Shape.of({"width": 64, "depth": 3})
