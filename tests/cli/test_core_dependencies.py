"""The server runs with the core dependencies alone: the import of any other installed distribution fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import ROOT

from mercury_lsp.engine.backends.cpu.kernel import instruction_sets

# Content of `sitecustomize`, which Python imports when it starts, also in the server's process.
REFUSAL = "import sys\nsys.modules.update(dict.fromkeys({refused}))\n"


def core_distributions() -> set[str]:
    """Return the names of the distributions that `pip install mercury-lsp` installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found, todo = (
        {canonicalize_name(project["name"])},
        [Requirement(text) for text in project["dependencies"]],
    )
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            todo += map(Requirement, metadata.requires(name) or ())
    return found


def refused_modules() -> list[str]:
    """Return the modules of all other installed distributions."""
    allowed = core_distributions()
    return sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & allowed
    )


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "sitecustomize.py").write_text(REFUSAL.format(refused=refused_modules()), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "MERCURY_MODEL": "mini"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )


def test_only_core_dependencies_can_be_imported(tmp_path: Path) -> None:
    assert {"torch", "ray", "fastapi", "pytest", "matplotlib"} <= set(refused_modules())
    assert not {"numpy", "pygls", "rich", "tokenizers", "tree_sitter_python", "mercury_lsp"} & set(
        refused_modules()
    )
    assert "import of torch halted" in run(tmp_path, "-c", "import torch").stderr


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
def test_the_demo_and_its_server_run_with_the_core_dependencies(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "mercury_lsp", "demo", "--fast")
    assert done.returncode == 0, done.stderr
    assert "keys instead of" in done.stdout


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
def test_the_doctor_runs_with_the_core_dependencies(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "mercury_lsp", "doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert not [problem for problem in json.loads(done.stdout)["problems"] if problem["fatal"]]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_demo_install_and_bench_install_only_the_core_dependencies(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "mercury_lsp/engine/kernel/build.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)

    def commands(target: str) -> str:
        line = ["make", "--dry-run", target]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "--no-deps -e ." in commands("demo")
    assert all("[dev]" not in commands(target) for target in ("demo", "install", "bench"))
    assert all("mercury-lsp[dev]" in commands(target) for target in ("test", "lint", "check"))
