"""The counted operations of a step equal those that torch counts, and freed memory can be returned."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from support import ROOT
from support.models.tiny_models import TINY
from torch.utils.flop_counter import FlopCounterMode

from mercury_lsp.engine.backends.network import Network
from model.training.attention import matmul_attention
from model.training.hardware import flops, peak_flops


def test_the_operations_of_a_step_equal_those_that_torch_counts() -> None:
    shape = replace(TINY, vocabulary=1000, layers=3)
    network = Network(shape)
    n, t, targets = 2, 48, 31
    ids = torch.arange(n * t).view(n, t)
    seen = torch.ones(n, t, t, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        hidden = network(ids, torch.arange(t).expand(n, t), seen, attend=matmul_attention)
        network.logits(hidden.flatten(0, 1)[:targets]).sum().backward()
    assert flops(shape, n * t, t, targets) == counter.get_total_flops()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ceiling_of_operations_per_second_is_plausible(dtype: torch.dtype) -> None:
    device = torch.device("cpu")
    assert 1e8 < peak_flops(device, dtype, 0.05) < 1e15


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc's allocator")
def test_kept_memory_is_returned_on_request() -> None:
    # In its own process, because the allocator's settings hold until the process ends.
    program = """
import torch
from model.training.hardware import keep_memory, return_memory
keep_memory()
rss = lambda: int(open("/proc/self/statm").read().split()[1]) >> 8
before = rss()
blocks = [torch.ones(4 << 20) for _ in range(16)]  # 16 MiB each
del blocks[:-1]  # what is left keeps the heap from shrinking at its end
kept = rss()
return_memory()
print(kept - before, rss() - before)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, left = map(int, ran.stdout.split())
    assert kept > 200
    assert left < 100
