"""Runs generated programs in processes with limits of time and memory, and without network. POSIX only.

This module starts a process, limits its wall-clock time, kills all processes that it started, and decides whether the
program passed. The limits inside the process are set by `confine`; the commands of languages other than Python come
from `toolchains`.
"""

from __future__ import annotations

import math
import os
import re
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

from model.evaluation.suites.toolchains import Step, Tools

CONFINE = Path(__file__).with_name("confine.py")
# None of our folders on the path, no installed packages, no bytecode.
ISOLATED = ("-P", "-s", "-S", "-B")
# Bytes of a failing command's output that are searched for the reason.
OUTPUT_BYTES = 1 << 16
# The best first: a line that begins with the name of an error, a line that mentions an error, any line.
_REASONS = (
    re.compile(rb"^\w*(?:Error|Exception)\b.*", re.MULTILINE),
    re.compile(rb"^.*(?:error|exception).*", re.IGNORECASE | re.MULTILINE),
    re.compile(rb"\S.*"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a program.

    ``seconds``, ``compile_seconds``: of the program and of its compilation, in wall-clock time and, rounded up, in CPU
    time. ``memory``: bytes of a Python program; for other languages see `Step`.
    """

    seconds: float = 10.0
    memory: int = 1 << 30
    compile_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a program. ``error``: one line with the reason why it did not pass; empty if it passed."""

    passed: bool
    error: str


def run(program: str, limits: Limits | None = None, tools: Tools | None = None) -> Outcome:
    """Run one program, in Python or with the tools of its language.

    A program passes if it exits with status 0 within the limits; a Python program must also reach its end.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="mercury-program-", ignore_cleanup_errors=True) as folder:
        if tools is None:
            return _python(program, limits, folder)
        Path(folder, tools.file).write_text(program, encoding="utf-8", errors="replace")
        if tools.modules is not None:
            Path(folder, "node_modules").symlink_to(tools.modules)
        for step in tools.steps:
            if error := _step(step, tools.path, limits, folder):
                return Outcome(False, f"{'compiling: ' if step.compiles else ''}{error}")
    return Outcome(True, "")


def run_all(
    programs: Sequence[str], limits: Limits | None = None, processes: int = 2, tools: Tools | None = None
) -> Iterator[Outcome]:
    """Run programs, a few processes at a time; yield the outcomes in order."""
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(lambda program: run(program, limits, tools), programs)


def _python(program: str, limits: Limits, folder: str) -> Outcome:
    proof = secrets.token_hex(16).encode() + b"\n"
    written = proof + program.encode("utf-8", "replace")
    # A fixed hash seed, so that a program which depends on the order of a set passes always or never.
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
        _end(process)
    if process.returncode < 0:
        return Outcome(False, f"killed by {signal.Signals(-process.returncode).name}")
    if answer == proof:
        passed = process.returncode == 0
        return Outcome(passed, "" if passed else f"exited with {process.returncode} after its end")
    error = answer.decode("utf-8", "replace")
    return Outcome(False, error or f"exited with {process.returncode} before its end")


def _step(step: Step, path: str, limits: Limits, folder: str) -> str:
    """Run a step; return the reason why it failed, in one line, or an empty string. A program's output is discarded."""
    seconds = limits.compile_seconds if step.compiles else limits.seconds
    bounds = (str(math.ceil(seconds)), str(step.memory), step.kind)
    environment = {"PATH": path, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, *ISOLATED, str(CONFINE), *bounds, *step.command],
            stdin=subprocess.DEVNULL,
            stdout=said if step.compiles else subprocess.DEVNULL,
            stderr=said,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"timed out after {seconds:g} s"
        finally:
            _end(process)
        if status == 0:
            return ""
        said.seek(0)
        written = said.read(OUTPUT_BYTES)
    found = next(filter(None, (reason.search(written) for reason in _REASONS)), None)
    reason = found.group().decode("utf-8", "replace").strip()[:300] if found else ""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}" + (f": {reason}" if reason else "")
    return reason or f"exited with {status}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a process's group."""
    # macOS raises PermissionError for a group of dead processes.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
