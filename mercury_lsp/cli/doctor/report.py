"""Collects the results of the checks of `doctor`, and runs other programs for them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mercury_lsp.config import Config
from mercury_lsp.programs import kill


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem and its fix. A fatal problem means that nothing can be suggested."""

    problem: str
    fix: str
    fatal: bool


@dataclass(slots=True)
class Report:
    """The results of the checks.

    `config`: the settings to check. `facts`: a JSON value for each check by name.
    """

    config: Config = field(default_factory=Config)
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add_problem(self, problem: str, fix: str, fatal: bool = False) -> None:
        """Add a problem."""
        self.problems.append(Problem(problem, fix, fatal))

    @property
    def usable(self) -> bool:
        """Whether suggestions can be expected."""
        return not any(problem.fatal for problem in self.problems)


def program_output(command: Sequence[str], seconds: float = 15.0) -> str | None:
    """Run a program and return its output; None if the program fails or does not end in time, and then kill it.

    The output goes to a file, because the program's own children could keep a pipe open.
    """
    with tempfile.TemporaryFile() as output:
        null = subprocess.DEVNULL
        try:
            process = subprocess.Popen(
                command, stdin=null, stdout=output, stderr=null, start_new_session=True
            )
        except (OSError, ValueError):
            return None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            kill(process)
            return None
        output.seek(0)
        return output.read().decode(errors="replace") if status == 0 else None
