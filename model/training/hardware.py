"""Measures the cost of training steps: model FLOPs and the device's measured peak; and controls the allocator."""

from __future__ import annotations

import ctypes
import sys
import time
from functools import cache

import torch

from mercury_lsp.engine.checkpoints.shape import Shape

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_memory() -> None:
    """Make glibc's allocator keep freed memory; do nothing with other C libraries.

    Otherwise the large tensors of every step cost a page fault for each 4 KiB, which nearly doubled the time of a step
    on a CPU.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    libc.mallopt(_TOP_PAD, 1 << 29)


def return_memory() -> None:
    """Return the allocator's unused memory to the system.

    After `keep_memory`, the heap fragments if shapes change from step to step; an occasional call of this is worth the
    page faults of one step.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def flops(shape: Shape, rows: int, seen: float, targets: int) -> float:
    """Return the FLOPs of one training step: 6 for each weight and row, 12 for each pair of rows and channel.

    rows: the rows of the whole batch. seen: the number of rows that a row attends to, on average. targets: the rows
    whose logits are computed. Wasted and repeated work of a kernel does not count (the convention of PaLM, Chowdhery
    et al. 2022).
    """
    heads = shape.heads * shape.head_width
    layer = shape.width * (2 * heads + 2 * shape.kv_heads * shape.head_width + 3 * shape.hidden)
    body = 6 * shape.layers * layer * rows + 12 * shape.layers * heads * seen * rows
    return float(body + 6 * shape.width * shape.vocabulary * targets)


def peak_flops(device: torch.device, dtype: torch.dtype, seconds: float = 1.0, size: int = 0) -> float:
    """Measure the device's peak FLOP/s: the fastest product of two square matrices of ``size`` rows.

    size: 0 takes a size that suits the device.
    """
    size = size or (8192 if device.type == "cuda" else 1024)
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    # The first product loads and chooses kernels.
    one @ other
    best, end = 0.0, time.monotonic() + seconds
    while best == 0 or time.monotonic() < end:
        synchronize(device)
        began = time.perf_counter()
        for _ in range(4):
            one @ other
        synchronize(device)
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - began))
    return best


@cache
def fastest_dtype(device: torch.device) -> torch.dtype:
    """Return the fastest number format of matrix products: bf16, or fp32 on a CPU that is slower in bf16.

    CPUs without AVX-512 BF16 and AMX are slower in bf16 (Zen 3: 4 to 40 times). The measurement takes less than 0.1 s.
    """
    if device.type != "cpu":
        return torch.bfloat16
    return max((torch.bfloat16, torch.float32), key=lambda dtype: peak_flops(device, dtype, 0.02, 256))


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Work:
    """The work of a device up to the last `mark`; `done` tells without waiting whether it is finished."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def mark(self) -> None:
        """Mark all work so far."""
        if self._event is not None:
            self._event.record()

    def done(self) -> bool:
        """Return whether the marked work is finished. On a CPU, work is finished when its call returns."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]
