"""Tests of calls to the operating system, each in its own thread or process, and of refused calls."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mercury_lsp.engine.system import cores, lower_priority, release_memory, wait_for_exit, zero_pages

linux = pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's on Linux only")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def in_a_thread(function: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@linux
def test_low_priority_applies_to_a_thread_and_its_children_only() -> None:
    before = niceness()

    def both() -> int:
        lower_priority(before + 3)
        assert niceness() == before + 3
        return in_a_thread(niceness)

    assert in_a_thread(both) == before + 3
    assert niceness() == before


@linux
def test_a_priority_that_is_already_lower_is_kept() -> None:
    before = niceness()

    def twice() -> int:
        lower_priority(before + 3)
        lower_priority(before)
        return niceness()

    assert in_a_thread(twice) == before + 3


def test_a_refused_change_of_priority_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse, raising=False)
    in_a_thread(lambda: lower_priority(19) or 0)
    monkeypatch.setattr(sys, "platform", "win32")
    lower_priority(19)


def test_releasing_memory_is_skipped_if_the_libc_cannot_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    release_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # like musl's, without malloc_trim
    release_memory()


def test_zero_pages_are_zero_and_writable() -> None:
    own = zero_pages(10_000)
    assert len(own) == 10_000 and not any(own[:])
    own[9_999] = 7
    assert own[9_999] == 7 and not any(zero_pages(10_000)[:])


@linux
def test_freed_pages_return_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    own, before = zero_pages(1 << 26), resident()
    for at in range(0, 1 << 26, mmap.PAGESIZE):
        own[at] = 1
    assert resident() - before > 1 << 25
    del own
    assert resident() - before < 1 << 24


def machine(root: Path, cores: list[int], cgroup: str = "", **files: str) -> Path:
    """Create the files in which Linux describes processors, one thread each, and control groups."""
    for processor, core in enumerate(cores):
        topology = root / f"sys/devices/system/cpu/cpu{processor}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{core}\n")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/").replace("cpu_", "cpu.", 1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "count"),
    [
        ("", {}, 4),
        ("0::/\n", {"cpu_max": "max 100000\n"}, 4),
        ("0::/\n", {"cpu_max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu_max": "150000 100000\n"}, 1),
        ("0::/\n", {"cpu_max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu_max": "nonsense\n"}, 4),
        ("0::/a/b\n", {"a__b__cpu_max": "max 100000", "a__cpu_max": "300000 100000"}, 3),
        ("0::/of/the/host\n", {"cpu_max": "200000 100000"}, 2),
        ("0::/../../x\n", {"cpu_max": "200000 100000"}, 2),
        (
            "4:memory:/x\n3:cpu:/y\n",
            {"cpu__y__cpu.cfs_quota_us": "200000", "cpu__y__cpu.cfs_period_us": "100000"},
            2,
        ),
        ("3:cpu:/y\n", {"cpu__y__cpu.cfs_quota_us": "-1", "cpu__y__cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_the_number_of_cores_is_limited_by_the_cpu_quota(
    cgroup: str, files: dict[str, str], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores(machine(tmp_path, [0, 1, 2, 3, 0, 1, 2, 3], cgroup, **files)) == count


@pytest.mark.parametrize(("allowed", "count"), [({0}, 1), ({0, 4}, 1), ({0, 1, 5}, 2), ({9, 10}, 2)])
def test_only_the_cores_of_the_affinity_count(
    allowed: set[int], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed, raising=False)
    assert cores(machine(tmp_path, [0, 1, 2, 3, 0, 1, 2, 3])) == count


@linux
@pytest.mark.integration
def test_a_process_with_one_processor_uses_one_thread() -> None:
    pinned = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code = f"{pinned}\nfrom mercury_lsp.engine.system import default_threads\nprint(default_threads())"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"1\n"


@linux
@pytest.mark.integration
def test_the_exit_of_a_process_is_noticed_before_it_is_reaped() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_exit, process.pid)
        assert not waiting.done()
        os.kill(process.pid, 9)
        waiting.result(30)
    wait_for_exit(process.pid)  # returns for a process that is gone, too


@pytest.mark.integration
def test_a_process_is_polled_without_pidfd_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mercury_lsp.engine.system.POLL_SECONDS", 0.01)
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_exit, process.pid)
        assert not waiting.done()
        process.kill()
        process.wait()
        waiting.result(30)
