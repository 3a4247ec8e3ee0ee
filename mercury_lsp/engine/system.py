"""Asks the operating system: for memory that returns to it, for priorities, and whether a process lives."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 1.0
_SYNCHRONIZE, _FOREVER = 0x100000, 0xFFFFFFFF  # of Windows

_TOPOLOGY = "sys/devices/system/cpu/cpu{}/topology"


def usual_threads() -> int:
    """How many threads compute where no setting says so."""
    return min(4, cores())


def cores(root: Path = Path("/")) -> int:
    """How many physical cores this process may use, 1 at least: of those of its affinity, within its cgroups' quota.

    Two processors of one core count once where the system tells (Linux and macOS). `root`: where `proc` and `sys` lie.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
        found = len({_core(root, processor) for processor in allowed})
    else:
        found = _mac_cores() or os.cpu_count() or 1
    return max(1, int(min(found, _quota(root))))


def _core(root: Path, processor: int) -> tuple[str, ...]:
    """What processors of the same core have in common; the processor itself where the system does not tell."""
    topology = root / _TOPOLOGY.format(processor)
    try:
        return tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(processor),)


def _quota(root: Path) -> float:
    """Processors' worth of time that the cgroups of this process, and those above, allow together."""
    found = math.inf
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers
        folder = top / path.strip("/")
        # In a container the path may be the host's, which is not mounted there: then the top is the container's.
        for place in (folder, *(above for above in folder.parents if above.is_relative_to(top)), top):
            found = min(found, _limit(place))
    return found


def _limit(cgroup: Path) -> float:
    """One cgroup's own quota, of either version."""
    try:
        if (file := cgroup / "cpu.max").is_file():
            quota, period = file.read_text().split()
        else:
            quota, period = ((cgroup / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # there is none, or it is "max"
        return math.inf


def _mac_cores() -> int:
    if sys.platform != "darwin":
        return 0
    count, size = ctypes.c_int(0), ctypes.c_size_t(4)
    failed = ctypes.CDLL(None).sysctlbyname(
        b"hw.physicalcpu", ctypes.byref(count), ctypes.byref(size), None, 0
    )
    return 0 if failed else count.value


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
        if sys.platform == "linux" and hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(process)
            try:
                waiting = select.poll()
                waiting.register(descriptor, select.POLLIN)
                waiting.poll()
            finally:
                os.close(descriptor)
        elif sys.platform == "darwin":
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
