"""Fixtures of the tests in real editors: the editors, a terminal, a project, and the server of this checkout."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from . import installs
from .installs import Program
from .terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "mercury_lsp/samples"
TYPED = "return self.h"
# After its final dot, editors with menus request completions.
DOTTED = "self.lock = threading."
LINE = 1 + [
    line.strip()[: len(TYPED)] for line in (SAMPLES / "expiring_cache.py").read_text().splitlines()
].index(TYPED)
# With this deadline no test fails because the machine is slow.
SETTINGS = {"show_likelihood": 0, "deadline_ms": 60_000, "history_days": 0}
SECRET = "API_TOKEN=correct-horse-battery-staple\nHOST=localhost\n"

T = TypeVar("T")


def installed(make: Callable[[], T]) -> T:
    """Return what ``make`` installs. Skip the test if it is missing, unless missing editors are to be installed."""
    try:
        return make()
    except installs.Missing as missing:
        if installs.ASKED == "install":
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def neovim_12() -> Program:
    return installed(lambda: installs.neovim("0.12"))


@pytest.fixture(scope="session")
def neovim_11() -> Program:
    return installed(lambda: installs.neovim("0.11"))


@pytest.fixture(scope="session")
def helix() -> Program:
    return installed(installs.helix)


@pytest.fixture(scope="session")
def emacs() -> Program:
    return installed(installs.emacs)


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Return the folder where screens are saved."""
    folder = ROOT / "build/editors"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def terminal(artifacts: Path) -> Iterator[Terminal]:
    made = Terminal(installed(installs.tmux), artifacts)
    yield made
    made.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a workspace folder with two real files and a private one."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("expiring_cache.py", "sales_report.py"):
        shutil.copyfile(SAMPLES / name, folder / name)
    (folder / ".env").write_text(SECRET, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def server() -> list[str]:
    """Return the command that starts the server of this checkout."""
    return ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "mercury_lsp", "--stdio"]
