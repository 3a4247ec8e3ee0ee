"""The quantization grid: packing loses less than a level, and packing again loses nothing."""

from __future__ import annotations

import pytest
import torch

from model.compression.quantization_grid import pack, unpack


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 8])
def test_packing_loses_at_most_a_level(bits: int) -> None:
    matrix = torch.randn(24, 128, generator=torch.Generator().manual_seed(bits))
    planes, scale = pack(matrix, bits, 64)
    assert planes.numel() == matrix.numel() * bits // 8
    error = (unpack(planes, scale) - matrix).square().mean().sqrt()
    # In standard deviations of a normal distribution; a level is about 5.5 / 2^bits wide.
    assert error < 2.9 / 2**bits
    assert error > 0


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_packing_unpacked_weights_again_changes_nothing(bits: int) -> None:
    once = unpack(*pack(torch.randn(8, 64, generator=torch.Generator().manual_seed(bits)), bits, 32))
    torch.testing.assert_close(unpack(*pack(once, bits, 32)), once)
