"""Measures what a training step costs: model FLOPs, a measured ceiling, and the memory that it keeps.

Knows the network's shape, and nothing of data or optimizers.
"""

from __future__ import annotations

import ctypes
import sys
import time
from functools import cache

import torch

from mercury_lsp.engine.checkpoints.shape import Shape

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of mallopt(3)


def keep_memory() -> None:
    """Let glibc's allocator keep what is freed: a step's large tensors else cost a page fault for each 4 KiB, every
    step anew, which made steps on a processor nearly twice as long. Nothing happens on other C libraries."""
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    libc.mallopt(_TOP_PAD, 1 << 29)


def return_memory() -> None:
    """Give back what the allocator keeps and nothing uses. Where `keep_memory` is on and shapes change from step to
    step, the heap fragments: now and then this is worth the page faults of one step."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def flops(shape: Shape, rows: int, seen: float, targets: int) -> float:
    """Floating-point operations of one training step: 6 for each weight and row, 12 for each pair of rows and channel.

    rows: of the whole batch; seen: rows that a row attends to, on average; targets: rows that go through the
    vocabulary. What a kernel works out for nothing, or again, does not count (the convention of PaLM, Chowdhery et al.
    2022).
    """
    heads = shape.heads * shape.head_width
    layer = shape.width * (2 * heads + 2 * shape.kv_heads * shape.head_width + 3 * shape.hidden)
    body = 6 * shape.layers * layer * rows + 12 * shape.layers * heads * seen * rows
    return float(body + 6 * shape.width * shape.vocabulary * targets)


def ceiling(device: torch.device, dtype: torch.dtype, seconds: float = 1.0, size: int = 0) -> float:
    """FLOP/s of the device's best product of two square matrices of ``size`` rows, large ones by default, measured."""
    size = size or (8192 if device.type == "cuda" else 1024)
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    one @ other  # loads and chooses kernels
    best, end = 0.0, time.monotonic() + seconds
    while best == 0 or time.monotonic() < end:
        settle(device)
        began = time.perf_counter()
        for _ in range(4):
            one @ other
        settle(device)
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - began))
    return best


@cache
def fastest_dtype(device: torch.device) -> torch.dtype:
    """The number format of products: bf16, or fp32 on a processor that multiplies in bf16 more slowly, as all do that
    have neither AVX-512 BF16 nor AMX (Zen 3: 4 to 40 times). Measured within a tenth of a second."""
    if device.type != "cpu":
        return torch.bfloat16
    return max((torch.bfloat16, torch.float32), key=lambda dtype: ceiling(device, dtype, 0.02, 256))


def settle(device: torch.device) -> None:
    """Wait until a device has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Work:
    """What a device was asked to do up to the last `mark`; tells, without waiting, whether it is done."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def mark(self) -> None:
        """All work so far."""
        if self._event is not None:
            self._event.record()

    def done(self) -> bool:
        """Whether the device stands idle. A processor's work is done when its call returns."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]
