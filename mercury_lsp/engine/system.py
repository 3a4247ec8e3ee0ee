"""What is asked of the operating system: to take memory back, and to let other programs go first.

Both are favours. Where a system does not know them, nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_MMAP_THRESHOLD = -3  # as in glibc's malloc.h
_LARGE = 1 << 20  # bytes


def give_back_large_memory() -> None:
    """From now on, return large blocks to the system when they are freed. By itself glibc comes to keep them."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # other C libraries
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def give_back_memory() -> None:
    """Return all that was freed to the system: after loading a model about 30 MB."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def stand_back(nice: int) -> None:
    """Let other programs go first, by at least so much of POSIX's niceness: 0, not at all, to 19.

    On Linux this is the calling thread's, and of the threads that it will start.
    """
    if sys.platform != "win32":
        with suppress(OSError):
            if os.getpriority(os.PRIO_PROCESS, 0) < nice:
                os.setpriority(os.PRIO_PROCESS, 0, nice)
