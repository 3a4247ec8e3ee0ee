"""What is asked of the operating system: to take memory back, and to let other programs go first.

Both are favours. Where a system does not know them, nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress


def give_back_memory() -> None:
    """Return what was freed to the system. By itself glibc keeps it: after loading a model about 30 MB."""
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
