"""What is asked of the operating system: memory that returns to it, and to let other programs go first.

Where a system does not know such favours, nothing happens.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from contextlib import suppress


def pages(size: int) -> mmap.mmap:
    """So many bytes of zeros in pages of their own, which return to the system as soon as they are freed.

    What comes from the heap may stay there: glibc keeps even large blocks, once it has seen a few.
    """
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    own = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE)
    if sys.platform == "linux":
        with suppress(OSError):
            own.madvise(mmap.MADV_HUGEPAGE)
    return own


def give_back_memory() -> None:
    """Return all that was freed to the system: after loading a model about 30 MB."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # other C libraries
            ctypes.CDLL(None).malloc_trim(0)


def stand_back(nice: int) -> None:
    """Let other programs go first, by at least so much of POSIX's niceness: 0, not at all, to 19.

    On Linux this is the calling thread's, and of the threads that it will start.
    """
    if sys.platform != "win32":
        with suppress(OSError):
            if os.getpriority(os.PRIO_PROCESS, 0) < nice:
                os.setpriority(os.PRIO_PROCESS, 0, nice)
