"""Checks the installation, and lists at most three problems with their fixes: `mercury-lsp doctor`.

Each check works regardless of the others' results, because the command has to work in a broken installation.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from typing import Any

from rich.console import Console
from rich.table import Table

from mercury_lsp import __version__
from mercury_lsp.cli.doctor import editors, environment, hosted_model
from mercury_lsp.cli.doctor.report import Report
from mercury_lsp.cli.loading import read_settings
from mercury_lsp.config import Config
from mercury_lsp.models.selection import choose_model

_REQUIRED_LIBRARIES = ("pygls", "lsprotocol", "tokenizers", "numpy", "rich", "tree-sitter")
# PyTorch runs the model on a GPU, and runs checkpoints that are not packed.
_OPTIONAL_LIBRARIES = ("torch",)
MAX_SHOWN_PROBLEMS = 3
"""The number of problems that are shown, fatal ones first."""
_REINSTALL = "reinstall mercury-lsp (in a clone: make clean install)"


def run(arguments: Namespace) -> int:
    """Run all checks and print their results; return 0 if mercury-lsp is usable here, else 1."""
    report = run_checks(read_settings(arguments.settings))
    if arguments.json:
        problems = [asdict(problem) for problem in report.problems]
        print(json.dumps({"usable": report.usable, **report.facts, "problems": problems}))
    else:
        _print_report(report)
    return 0 if report.usable else 1


def run_checks(config: Config | None = None) -> Report:
    """Run all checks.

    config: the settings of the file that the user named, because the editors' own settings are not known here.
    """
    report = Report(config or Config())
    for name, check in _CHECKS.items():
        try:
            report.facts[name] = check(report)
        except Exception as error:
            # The other checks are still useful, whatever is broken here.
            report.facts[name] = None
            report.add_problem(f"{name}: {type(error).__name__}: {error}", _REINSTALL, fatal=True)
    return report


def _check_versions(report: Report) -> dict[str, str | None]:
    versions: dict[str, str | None] = {"mercury-lsp": __version__, "python": platform.python_version()}
    for name in _REQUIRED_LIBRARIES:
        versions[name] = _package_version(name)
        if versions[name] is None:
            report.add_problem(f"{name} is not installed", f"pip install {name}", fatal=True)
    return versions | {name: _package_version(name) for name in _OPTIONAL_LIBRARIES}


def _package_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check_grammars(report: Report) -> dict[str, str | None]:
    """Return the version of each language's grammar, or None if the grammar does not load."""
    from mercury_lsp.syntax.languages import LANGUAGES

    grammars: dict[str, str | None] = {}
    for language in LANGUAGES:
        package = language.module.replace("_", "-")
        loads = language.grammar() is not None
        grammars[language.name] = _package_version(package) if loads else None
        if not loads:
            report.add_problem(
                f"the grammar of {language.name} does not load, so the server goes by indentation in its files",
                f"pip install --force-reinstall {package}",
            )
    return grammars


def _check_devices(report: Report) -> dict[str, Any]:
    from mercury_lsp.engine.backends import devices
    from mercury_lsp.engine.backends.cpu.kernel import instruction_sets

    kernel = next(iter(instruction_sets()), None)
    if kernel is None:
        report.add_problem(
            "the CPU kernel is not installed, so PyTorch has to run the model, more slowly",
            "reinstall mercury-lsp (in a clone: make clean install)",
        )
    available, build = {"cpu": platform.processor() or platform.machine()}, None
    nvidia = shutil.which("nvidia-smi") is not None
    if not devices.has_torch():
        if nvidia or devices.may_have_gpu():
            report.add_problem(
                "the server cannot use a GPU without PyTorch",
                f"if this machine has a usable GPU, {devices.INSTALL_TORCH}",
            )
    elif nvidia or devices.may_have_gpu():
        # The import takes seconds, so it is left out without a GPU.
        import torch

        build = torch.__version__
        if torch.cuda.is_available():
            available["cuda"] = torch.cuda.get_device_name()
        elif nvidia:
            report.add_problem(
                "there is an NVIDIA driver, but this build of PyTorch cannot use it",
                "install a CUDA build of PyTorch for this driver, as described on pytorch.org",
            )
        if torch.backends.mps.is_available():
            available["mps"] = "Apple GPU"
    used = devices.pick_device("auto")
    return {"used": used, "found": available, "kernel": kernel, "torch_build": build}


def _check_model(report: Report) -> dict[str, Any] | None:
    """Load the model and complete one line with it."""
    from mercury_lsp.engine import load
    from mercury_lsp.engine.api import Sampling
    from mercury_lsp.engine.checkpoints import checkpoint, contents
    from mercury_lsp.engine.tokenizer import Prompt

    # The server loads no local model then.
    if report.config.remote == "always":
        return None
    choice = choose_model(report.config.model)
    if choice.problem:
        report.add_problem(
            choice.problem.rstrip("."), "correct the file, then run mercury-lsp models select NAME"
        )
    began, fix = time.perf_counter(), "select a model that exists: mercury-lsp models select NAME"
    try:
        folder = checkpoint.locate_model(choice.model)
        fix = f"{_REINSTALL}, or {fix}"
        engine = load.load_engine(choice.model)
    except checkpoint.CheckpointError as error:
        report.add_problem(str(error).rstrip("."), fix, fatal=True)
        return None
    except MemoryError:
        report.add_problem("the model does not fit into memory", "close other programs", fatal=True)
        return None
    loaded = time.perf_counter()
    infill = engine.infill(
        Prompt("sum.py", "def add(a, b):\n    return ", "", "\n"), Sampling(single_line=True)
    )
    return {
        "name": engine.name,
        "chosen_by": choice.source,
        "folder": str(folder),
        # An open model has no fingerprint.
        "fingerprint": getattr(engine, "fingerprint", None),
        "parameters": engine.parameters,
        "size_mb": contents.model_bytes(folder) >> 20,
        "device": engine.device,
        "threads": engine.threads,
        "load_ms": round((loaded - began) * 1e3),
        "first_completion_ms": round(infill.ms),
    }


_CHECKS: dict[str, Callable[[Report], Any]] = {
    "versions": _check_versions,
    "grammars": _check_grammars,
    "devices": _check_devices,
    "model": _check_model,
    "hosted": hosted_model.check_hosted_model,
    "environment": environment.check_environment,
    "program": environment.check_programs,
    "server": environment.check_server,
    "folders": environment.check_folders,
    "editors": editors.check_editors,
    "lately": environment.recent_requests,
}


def _print_report(report: Report) -> None:
    output = Console(highlight=False)
    table = Table(show_header=False, box=None)
    for _ in range(3):
        table.add_column(overflow="fold")
    for name, facts in report.facts.items():
        if name == "grammars" and facts and None not in facts.values():
            facts = {"": f"all {len(facts)}"}
        rows = facts.items() if isinstance(facts, dict) else [("", facts)]
        for number, (label, value) in enumerate(rows or [("", "none found")]):
            text = value if not isinstance(value, dict) else ", ".join(f"{k}: {v}" for k, v in value.items())
            table.add_row("" if number else name, label, "-" if text is None else str(text))
    output.print(table)
    output.print(
        f"\nmercury-lsp {'is ready on this machine' if report.usable else 'cannot suggest anything yet'}."
    )
    problems = sorted(report.problems, key=lambda problem: not problem.fatal)
    for number, problem in enumerate(problems[:MAX_SHOWN_PROBLEMS], 1):
        output.print(f"\n{number}. {problem.fix[0].upper()}{problem.fix[1:]}.", markup=False)
        output.print(f"   Reason: {problem.problem}.", markup=False, style="dim")
    if (hidden := len(problems) - MAX_SHOWN_PROBLEMS) > 0:
        output.print(
            f"\nThen run mercury-lsp doctor again: there are {hidden} more problems (--json shows them)."
        )
