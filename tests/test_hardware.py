"""The count of a step's operations, against those that torch counts as they run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import TINY
from torch.utils.flop_counter import FlopCounterMode

from mercury_lsp.engine.network import Network
from model.attention import product
from model.hardware import ceiling, flops


def test_a_steps_operations_are_those_that_run() -> None:
    shape = replace(TINY, vocabulary=1000, layers=3)
    network = Network(shape)
    n, t, targets = 2, 48, 31
    ids = torch.arange(n * t).view(n, t)
    seen = torch.ones(n, t, t, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        hidden = network(ids, torch.arange(t).expand(n, t), seen, attend=product)
        network.logits(hidden.flatten(0, 1)[:targets]).sum().backward()
    assert flops(shape, n * t, t, targets) == counter.get_total_flops()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ceiling_is_what_a_product_reaches(dtype: torch.dtype) -> None:
    device = torch.device("cpu")
    assert 1e8 < ceiling(device, dtype, 0.05) < 1e15
