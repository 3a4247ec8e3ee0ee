"""What is asked of the operating system, each in a thread or process of its own, and what it may refuse."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mercury_lsp.engine.system import give_back_memory, pages, stand_back

linux = pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's on Linux only")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def in_a_thread(function: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@linux
def test_a_thread_and_those_that_it_starts_stand_back_and_no_other() -> None:
    before = niceness()

    def both() -> int:
        stand_back(before + 3)
        assert niceness() == before + 3
        return in_a_thread(niceness)

    assert in_a_thread(both) == before + 3
    assert niceness() == before


@linux
def test_who_stands_back_further_already_is_left_there() -> None:
    before = niceness()

    def twice() -> int:
        stand_back(before + 3)
        stand_back(before)
        return niceness()

    assert in_a_thread(twice) == before + 3


def test_what_a_system_refuses_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse, raising=False)
    in_a_thread(lambda: stand_back(19) or 0)
    monkeypatch.setattr(sys, "platform", "win32")
    stand_back(19)


def test_memory_is_given_back_where_the_system_knows_how(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # as musl's
    give_back_memory()


def test_pages_are_zeros_that_can_be_written() -> None:
    own = pages(10_000)
    assert len(own) == 10_000 and not any(own[:])
    own[9_999] = 7
    assert own[9_999] == 7 and not any(pages(10_000)[:])


@linux
def test_pages_return_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    own, before = pages(1 << 26), resident()
    for at in range(0, 1 << 26, mmap.PAGESIZE):
        own[at] = 1
    assert resident() - before > 1 << 25
    del own
    assert resident() - before < 1 << 24
