"""Calls the operating system for cores, memory, threads, thread priority, and the exit of a process."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path

POLL_SECONDS = 1.0
# Constants of the Windows API.
_SYNCHRONIZE, _INFINITE = 0x100000, 0xFFFFFFFF
_TOPOLOGY = "sys/devices/system/cpu/cpu{}/topology"


def context_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """Return a new thread that runs in a copy of the caller's context, by which the log identifies clients.

    The thread is not started. It is a daemon, because a hanging disk or load must not keep the process from ending.
    """
    return threading.Thread(target=copy_context().run, args=(target,), name=name, daemon=True)


def default_threads() -> int:
    """Return the default number of threads."""
    return min(4, cores())


def cores(root: Path = Path("/")) -> int:
    """Return the number of physical cores that this process may use, at least 1, by its affinity and cgroup quota.

    Two hardware threads of one core count once on Linux and macOS. root: the parent folder of `proc` and `sys`.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
        count = len({_core(root, processor) for processor in allowed})
    else:
        count = _mac_cores() or os.cpu_count() or 1
    return max(1, int(min(count, _quota(root))))


def _core(root: Path, processor: int) -> tuple[str, ...]:
    """Return the package and core ids of a hardware thread; its own number if the system lists no topology."""
    topology = root / _TOPOLOGY.format(processor)
    try:
        return tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(processor),)


def _quota(root: Path) -> float:
    """Return the smallest quota, in processors, of this process's cgroups and their parents."""
    quota = math.inf
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers
        folder = top / path.strip("/")
        # In a container the path may be the host's and not mounted; then the quota is at the top of the mount.
        for cgroup in (folder, *(above for above in folder.parents if above.is_relative_to(top)), top):
            quota = min(quota, _limit(cgroup))
    return quota


def _limit(cgroup: Path) -> float:
    """Return the quota of one cgroup, version 1 or 2, in processors; infinity without a quota."""
    try:
        if (file := cgroup / "cpu.max").is_file():
            quota, period = file.read_text().split()
        else:
            quota, period = ((cgroup / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        # There is no quota, or it is "max".
        return math.inf


def _mac_cores() -> int:
    if sys.platform != "darwin":
        return 0
    count, size = ctypes.c_int(0), ctypes.c_size_t(4)
    failed = ctypes.CDLL(None).sysctlbyname(
        b"hw.physicalcpu", ctypes.byref(count), ctypes.byref(size), None, 0
    )
    return 0 if failed else count.value


def zero_pages(size: int) -> mmap.mmap:
    """Allocate ``size`` zero bytes in their own pages, which return to the system as soon as they are freed.

    Memory from the heap may stay with the process: glibc keeps even large blocks after a few of them were freed.
    """
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE)
    if sys.platform == "linux":
        with suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def release_memory() -> None:
    """Return freed memory to the system: about 30 MB after loading a model."""
    if sys.platform == "linux":
        # Only glibc has malloc_trim.
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def lower_priority(nice: int) -> None:
    """Raise the POSIX niceness to at least ``nice``, from 0 to 19, so that other programs run first.

    On Linux this applies to the calling thread and to the threads that it starts later.
    """
    if sys.platform != "win32":
        with suppress(OSError):
            if os.getpriority(os.PRIO_PROCESS, 0) < nice:
                os.setpriority(os.PRIO_PROCESS, 0, nice)


def wait_for_exit(process: int) -> None:
    """Block the thread until a process has ended; return at once if there is no such process.

    The process need not be a child, and may stay a zombie.
    """
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        if handle := kernel.OpenProcess(_SYNCHRONIZE, False, process):
            kernel.WaitForSingleObject(handle, _INFINITE)
            kernel.CloseHandle(handle)
        return
    with suppress(OSError):
        _wait_for_notification(process)
        return
    while _is_running(process):
        time.sleep(POLL_SECONDS)


def _wait_for_notification(process: int) -> None:
    """Wait for the system's notification of the exit. Raises `OSError` if the system has no notification."""
    with suppress(ProcessLookupError):
        if sys.platform == "linux" and hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(process)
            try:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                poll.poll()
            finally:
                os.close(descriptor)
        elif sys.platform == "darwin":
            queue = select.kqueue()
            with queue:
                event = select.kevent(process, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
                queue.control([event], 1)
        else:
            raise OSError


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # The process belongs to another user.
        return True
    return True
