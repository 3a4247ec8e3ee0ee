"""Running generated Python programs: each in a process with limits of time and memory and without network,
and in a folder of its own that is removed afterwards.

Owns the process from outside: its start, its wall clock, the death of all it started, and the verdict. What
binds it from inside is `confine`. POSIX only. Knows nothing of tasks or models.
"""

from __future__ import annotations

import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CONFINE = Path(__file__).with_name("confine.py")
ISOLATED = ("-P", "-s", "-S", "-B")  # no folder of ours, no installed packages, no bytecode written


@dataclass(frozen=True, slots=True)
class Limits:
    """seconds: wall clock, and processor time rounded up; memory: bytes of address space."""

    seconds: float = 10.0
    memory: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """error: one line saying why the program did not pass; empty where it did."""

    passed: bool
    error: str


def run(program: str, limits: Limits | None = None) -> Outcome:
    """Run one program. It passes where it comes to its end and exits with 0, within the limits."""
    limits = limits or Limits()
    proof = secrets.token_hex(16).encode() + b"\n"
    written = proof + program.encode("utf-8", "replace")
    with tempfile.TemporaryDirectory(prefix="mercury-program-", ignore_cleanup_errors=True) as folder:
        # Hashes are fixed, so that a program which depends on a set's order passes always or never.
        environment = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "HOME": folder, "TMPDIR": folder}
        process = subprocess.Popen(
            [sys.executable, *ISOLATED, str(CONFINE), str(math.ceil(limits.seconds)), str(limits.memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        try:
            answer, _ = process.communicate(written, timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            return Outcome(False, f"timed out after {limits.seconds:g} s")
        finally:
            with suppress(ProcessLookupError, PermissionError):  # macOS denies it for a group of the dead
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode < 0:
        return Outcome(False, f"killed by {signal.Signals(-process.returncode).name}")
    if answer == proof:
        passed = process.returncode == 0
        return Outcome(passed, "" if passed else f"exited with {process.returncode} after its end")
    error = answer.decode("utf-8", "replace")
    return Outcome(False, error or f"exited with {process.returncode} before its end")


def run_all(programs: Sequence[str], limits: Limits | None = None, processes: int = 2) -> Iterator[Outcome]:
    """The programs' outcomes in their order, a few processes at a time."""
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(lambda program: run(program, limits), programs)
