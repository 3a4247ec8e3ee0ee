"""Asks the operating system: for memory that returns to it, for priorities, and whether a process lives."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import sys
import time
from contextlib import suppress

POLL_SECONDS = 1.0
_SYNCHRONIZE, _FOREVER = 0x100000, 0xFFFFFFFF  # of Windows


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


def wait_for_end(process: int) -> None:
    """Wait until a process has ended, though nobody may have asked for its status; not at all where there is none.

    Blocks the thread.
    """
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        if handle := kernel.OpenProcess(_SYNCHRONIZE, False, process):
            kernel.WaitForSingleObject(handle, _FOREVER)
            kernel.CloseHandle(handle)
        return
    with suppress(OSError):
        _wait_for_notice(process)
        return
    while _is_there(process):
        time.sleep(POLL_SECONDS)


def _wait_for_notice(process: int) -> None:
    """As `wait_for_end`, where the system tells. Raises `OSError` where it does not."""
    with suppress(ProcessLookupError):
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(process)
            try:
                waiting = select.poll()
                waiting.register(descriptor, select.POLLIN)
                waiting.poll()
            finally:
                os.close(descriptor)
        elif hasattr(select, "kqueue"):
            queue = select.kqueue()
            with queue:
                event = select.kevent(process, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
                queue.control([event], 1)
        else:
            raise OSError


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True
