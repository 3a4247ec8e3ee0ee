"""The weights that a shape names are those of the network."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.models.tiny_models import TINY, tiny_network

from mercury_lsp.engine.checkpoints.shape import Shape


def test_a_shape_names_the_weights_of_its_network() -> None:
    network = tiny_network()
    assert TINY.weights() == {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    assert TINY.parameters == sum(weight.numel() for weight in network.parameters())


def test_a_shape_with_a_wrong_field_is_refused() -> None:
    with pytest.raises(TypeError):
        Shape(width=64, depth=3)


@pytest.mark.parametrize("change", [{"qkv_bias": True}, {"head_norms": True}, {"tied": False}])
def test_optional_parts_are_in_the_weights_and_left_out_of_own_configurations(
    change: dict[str, bool],
) -> None:
    other = replace(TINY, **change)
    network = tiny_network(shape=other)
    assert other.weights() == {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    assert not other.plain
    assert Shape(**other.values()) == other
    assert Shape(**TINY.values()) == TINY
    # So that older versions read our checkpoints.
    assert not TINY.values().keys() & change.keys()
