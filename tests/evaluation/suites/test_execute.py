"""Programs of answers are executed in isolation, and each way to fail is reported with its reason."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from model.evaluation.suites.execute import Limits, Outcome, run, run_all

SHORT = Limits(seconds=1.0)
CONNECT = """
import socket, sys
sys.path.insert(0, {root!r})
from model.evaluation.suites.confine import leave_network
if not leave_network():
    sys.exit(77)
try:
    socket.create_connection(("127.0.0.1", {port}), 2)
except OSError:
    sys.exit(0)
sys.exit(1)
"""


def test_a_program_that_reaches_its_end_passes() -> None:
    assert run("assert sum(range(5)) == 10\nprint('done')\n") == Outcome(True, "")


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("assert 1 == 2, 'one is not two'", "AssertionError: one is not two"),
        ("def f(:\n  pass", "SyntaxError: invalid syntax (program.py, line 1)"),
        ("x = 'a\0b'", "ValueError: source code string cannot contain null bytes"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: "),
        ("import os; os._exit(0)", "exited with 0 before its end"),
        ("import os; os.write(1, b'f' * 33); os._exit(0)", "exited with 0 before its end"),
        ("import atexit, os; atexit.register(os._exit, 3)", "exited with 3 after its end"),
        ("def f(): return f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("import torch", "ModuleNotFoundError: No module named 'torch'"),
        ("import execute", "ModuleNotFoundError: No module named 'execute'"),
    ],
)
def test_a_program_that_does_not_reach_its_end_fails(program: str, error: str) -> None:
    outcome = run(program)
    assert not outcome.passed
    # 3.11 has ValueError and 3.12 SyntaxError for a null byte; both are the parser's refusal.
    assert outcome.error == error or ("null bytes" in error and "null bytes" in outcome.error)


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()",
    ],
)
def test_an_endless_program_is_stopped(program: str) -> None:
    outcome = run(program, SHORT)
    assert not outcome.passed
    assert outcome.error in {"timed out after 1 s", "killed by SIGKILL", "killed by SIGXCPU"}


def test_memory_is_limited() -> None:
    assert run("x = bytearray(2 << 30)") == Outcome(False, "MemoryError: ")
    assert run("x = bytearray(100 << 20)").passed


def test_a_program_may_write_in_its_folder() -> None:
    assert run("open('a', 'w').write('x'); assert open('a').read() == 'x'") == Outcome(True, "")
    assert run("open('/dev/null', 'w').write('x')") == Outcome(True, "")


@pytest.mark.parametrize(
    "attempt",
    [
        "open({file!r}, 'w')",
        "import os; os.open({file!r}, os.O_WRONLY)",
        "import os; os.chdir({folder!r}); open('mine.txt', 'a')",
        "import os; os.symlink({file!r}, 'a'); open('a', 'w')",
        "import os; os.remove({file!r})",
        "import os; os.rename({file!r}, 'a')",
        "import pathlib; pathlib.Path({file!r}).unlink()",
        "import shutil; shutil.rmtree({folder!r})",
    ],
)
def test_programs_cannot_change_other_files(attempt: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    outcome = run(attempt.format(file=str(mine), folder=str(tmp_path)))
    assert outcome.error.startswith("PermissionError: ")
    assert "refused" in outcome.error
    assert mine.read_text() == "precious"


def test_the_folder_of_a_program_is_removed() -> None:
    error = run("open('a', 'w').close()\nimport os; raise ValueError(os.getcwd())").error
    folder = error.removeprefix("ValueError: ")
    assert "mercury-program-" in folder
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    "call",
    [
        "import os; os.fork()",
        "import os; os.system('true')",
        "import os; os.kill(1, 0)",
        "import subprocess; subprocess.run(['true'])",
    ],
)
def test_processes_and_signals_are_refused(call: str) -> None:
    outcome = run(call)
    assert outcome.error.startswith("PermissionError: ")
    assert "refused" in outcome.error


def test_the_network_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        assert "refused" in run(program).error
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_network_namespace_has_no_connection() -> None:
    """The kernel cuts off the network without Python's audit hook, if it permits network namespaces."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = CONNECT.format(root=str(ROOT), port=port)
        status = subprocess.run([sys.executable, "-c", program], check=False).returncode
    if status == 77:
        pytest.skip("this kernel permits no network namespace here")
    assert status == 0


def test_outcomes_have_the_order_of_the_programs() -> None:
    outcomes = list(run_all(["pass", "raise ValueError(1)", "pass", "raise ValueError(3)"]))
    assert [outcome.error for outcome in outcomes] == ["", "ValueError: 1", "", "ValueError: 3"]
