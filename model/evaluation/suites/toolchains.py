"""Finds the compilers and interpreters for tasks in languages other than Python.

Programs are searched in ``bin`` and ``node_modules`` of the folder of toolchains (``--toolchains``,
``$MERCURY_TOOLCHAINS`` or ``~/.cache/mercury-lsp/toolchains``), then on the PATH. On Debian, these commands install
the tools of all suites::

    apt-get install default-jdk-headless php-cli php-mbstring g++ nodejs npm
    npm install --prefix ~/.cache/mercury-lsp/toolchains --ignore-scripts \\
        typescript@7.0.2 @types/node@20.19.43 lodash@4.18.1 mathjs@14.0.1

The tests of the JavaScript suite require lodash; five prompts of the TypeScript suite import mathjs. TypeScript is
checked without ``--strict``, and a type error fails the program. A C++ program begins with ``<bits/stdc++.h>``, whose
precompiled form is kept in the cache folder, which saves most of each compilation.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mercury_lsp.paths import cache_folder

VARIABLE = "MERCURY_TOOLCHAINS"
NPM = "npm install --prefix {folder} --ignore-scripts typescript@7.0.2 @types/node@20.19.43 lodash@4.18.1 mathjs@14.0.1"
GIGABYTE = 1 << 30
_CPP = ("-std=c++17", "-O0", "-w")
_HEADER = "bits/stdc++.h"


class ToolchainError(Exception):
    """A language cannot be run on this machine; the message names the missing tools and the fix."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a run, which begins with a program's name. ``memory``: bytes, limited by ``kind``; see `confine`.

    ``compiles``: whether the command is a compilation, not the program.
    """

    command: tuple[str, ...]
    kind: str = "data"
    memory: int = 3 * GIGABYTE
    compiles: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps to run a language's programs, after writing them to ``file``. ``packages``: the npm packages needed."""

    file: str
    steps: tuple[Step, ...]
    fix: str
    packages: tuple[str, ...] = ()


_SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")
_JAVAC = ("javac", *(f"-J{option}" for option in ("-Xmx512m", *_SMALL_JVM)), "-proc:none", "-nowarn")
_TSC = (
    "tsc",
    "--strict",
    "false",
    "--target",
    "es2022",
    "--module",
    "commonjs",
    "--types",
    "node",
    "program.ts",
)
_NODE = ("node", "--max-old-space-size=512", "program.js")
_APT = "install {}: apt-get install {}"

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "java": Recipe(
            "Main.java",
            (
                Step((*_JAVAC, "-encoding", "UTF-8", "-d", ".", "Main.java"), compiles=True),
                Step(("java", "-Xmx256m", *_SMALL_JVM, "-cp", ".", "Main")),
            ),
            _APT.format("a JDK of version 17 or later", "default-jdk-headless"),
        ),
        "javascript": Recipe(
            "program.js",
            (Step(_NODE),),
            _APT.format("Node.js 18 or later", "nodejs npm") + f", and its packages: {NPM}",
            ("lodash",),
        ),
        "typescript": Recipe(
            "program.ts",
            (Step(_TSC, compiles=True), Step(_NODE)),
            _APT.format("Node.js 18 or later", "nodejs npm") + f", and its packages: {NPM}",
            ("@types/node", "mathjs"),
        ),
        "php": Recipe(
            "program.php",
            (
                Step(
                    ("php", "-d", "memory_limit=512M", "-d", "display_errors=stderr", "program.php"),
                    "address",
                    GIGABYTE,
                ),
            ),
            _APT.format("PHP 8", "php-cli php-mbstring"),
        ),
        "cpp": Recipe(
            "program.cpp",
            (
                Step(
                    ("g++", *_CPP, "-I{headers}", "-o", "program", "program.cpp"),
                    "address",
                    4 * GIGABYTE,
                    True,
                ),
                Step(("./program",), "address", GIGABYTE),
            ),
            _APT.format("GNU g++ 9 or later", "g++"),
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Tools:
    """A language's recipe with full paths of the programs. ``modules``: the folder to link next to the program."""

    file: str
    steps: tuple[Step, ...]
    path: str
    modules: Path | None


def folder_of(given: str | None = None) -> Path:
    """Return the folder of toolchains."""
    return Path(given or os.environ.get(VARIABLE) or cache_folder() / "toolchains").expanduser().absolute()


def find(language: str, folder: Path) -> Tools:
    """Return the tools of a language of `RECIPES`. Raises `ToolchainError` if a tool is missing."""
    recipe = RECIPES[language]
    places = (str(folder / "bin"), str(folder / "node_modules" / ".bin"), os.environ.get("PATH", os.defpath))
    path = os.pathsep.join(places)
    modules = folder / "node_modules"
    names = dict.fromkeys(step.command[0] for step in recipe.steps if "/" not in step.command[0])
    found = {name: shutil.which(name, path=path) for name in names}
    lacking = [f"{name} is not on the PATH" for name, place in found.items() if place is None]
    lacking += [f"{name} is not in {modules}" for name in recipe.packages if not (modules / name).is_dir()]
    if lacking:
        raise ToolchainError(f"{language}: {', '.join(lacking)}; {recipe.fix.format(folder=folder)}")
    compiler = found.get("g++")
    headers = str(_precompiled(compiler)) if compiler else ""
    steps = []
    for step in recipe.steps:
        first, *rest = step.command
        command = (found.get(first) or first, *(word.replace("{headers}", headers) for word in rest))
        steps.append(Step(command, step.kind, step.memory, step.compiles))
    return Tools(recipe.file, tuple(steps), path, modules if recipe.packages else None)


def _precompiled(compiler: str) -> Path:
    """Return the folder with the precompiled standard header; compile the header if it is missing."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    mark = hashlib.sha256(repr((compiler, version, _CPP)).encode()).hexdigest()[:16]
    folder = cache_folder() / "headers" / mark
    made = folder / f"{_HEADER}.gch"
    if made.exists():
        return folder
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        source, target = Path(place) / "all.h", Path(place) / "all.gch"
        source.write_text(f"#include <{_HEADER}>\n")
        command = [compiler, *_CPP, "-x", "c++-header", str(source), "-o", str(target)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            reason = (ran.stderr.strip() or "no reason given").splitlines()[0]
            raise ToolchainError(
                f"cpp: {compiler} cannot compile <{_HEADER}> ({reason}); {RECIPES['cpp'].fix}"
            )
        # Atomic, since another run may do the same.
        target.replace(made)
    return folder
