"""The build hook: which machines get a kernel, how it is compiled, and what the wheel is told of it."""

from __future__ import annotations

import importlib.util
import platform
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support import ROOT

from mercury_lsp.engine.backends.cpu import kernel, mapping
from model.release.__main__ import ALL

FOLDER = ROOT / "mercury_lsp" / "engine" / "kernel"
LOCAL = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hook's module. The build backend need not be installed, for of it only a class's name is used."""
    for name in ("hatchling", *(f"hatchling.{rest}" for rest in PARENTS)):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    interface = sys.modules[f"hatchling.{PARENTS[-1]}"]
    interface.BuildHookInterface = object  # type: ignore[attr-defined]
    specification = importlib.util.spec_from_file_location("build_hook", FOLDER / "build.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


PARENTS = ("builders", "builders.hooks", "builders.hooks.plugin", "builders.hooks.plugin.interface")


def hook_of(build: ModuleType, warnings: list[str]) -> Any:
    """The hook as the backend makes it."""
    hook = build.Hook()
    hook.root = str(ROOT)
    hook.app = SimpleNamespace(display_warning=warnings.append)
    return hook


def test_the_library_is_where_the_server_looks_for_it(build: ModuleType) -> None:
    assert build.LIBRARY == mapping.LIBRARY
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert f"/{build.LIBRARY.relative_to(ROOT).as_posix()}" in ignored


def test_every_instruction_set_is_one_that_processors_are_asked_for(build: ModuleType) -> None:
    names = set(" ".join(re.findall(r'"([a-z0-9 ]*plain)"', (FOLDER / "sets.c").read_text())).split())
    compiled = {name for sets in build.SETS.values() for name in sets}
    assert names == compiled
    assert all("plain" in sets for sets in build.SETS.values())  # what any machine of a kind can run


def test_each_set_is_compiled_for_itself_and_linked_once(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "kernel.lib"
    monkeypatch.setattr(build, "LIBRARY", library)
    calls: list[list[str]] = []

    def run(command: list[str], check: bool, env: dict[str, str]) -> None:
        assert check and {"ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"} <= env.keys()
        calls.append(command)
        Path(command[command.index("-o") + 1]).write_bytes(b"made")

    monkeypatch.setattr(subprocess, "run", run)
    build.build("x86_64", "linux-gnu.2.28")
    *compiled, linked = calls
    assert all(call[1:4] == ["-m", "ziglang", "cc"] and set(build.FLAGS) <= set(call) for call in calls)
    assert all(call[call.index("-target") + 1] == "x86_64-linux-gnu.2.28" for call in calls)
    told = {(call[-6], call[-5]) for call in compiled}
    assert told == {(f"-mcpu={mcpu}", f"-DSET={name}") for name, mcpu in build.SETS["x86_64"].items()}
    assert "-shared" in linked and linked[-1] == "-lm"
    assert len([part for part in linked if part.endswith(".o")]) == len(compiled)
    assert library.read_bytes() == b"made"


def test_fast_mathematics_is_not_asked_for(build: ModuleType) -> None:
    """It would let a row's sums depend on where the row stands."""
    assert not {"-ffast-math", "-Ofast", "-funsafe-math-optimizations"} & set(build.FLAGS)


@pytest.mark.parametrize(
    ("system", "machine", "target", "tag"),
    [
        ("linux", "x86_64", ("x86_64", "linux-gnu.2.28"), "manylinux_2_28_x86_64"),
        ("linux", "aarch64", ("aarch64", "linux-gnu.2.28"), "manylinux_2_28_aarch64"),
        ("darwin", "arm64", ("aarch64", "macos.11.0-none"), "macosx_11_0_arm64"),
        ("darwin", "x86_64", ("x86_64", "macos.11.0-none"), "macosx_11_0_x86_64"),
        ("win32", "AMD64", ("x86_64", "windows-gnu"), "win_amd64"),
        ("win32", "ARM64", ("aarch64", "windows-gnu"), "win_arm64"),
    ],
)
def test_a_wheel_with_a_kernel_is_for_its_platform(
    build: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    target: tuple[str, str],
    tag: str,
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: f"{machine}-pc-linux-gnu")
    assert told(build, monkeypatch, "") == (target, tag)


def test_a_linux_of_musl_gets_its_own_kernel(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: "x86_64-pc-linux-musl")
    assert told(build, monkeypatch, "") == (("x86_64", "linux-musl"), "musllinux_1_2_x86_64")


def test_another_platform_can_be_named(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(build, monkeypatch, "macos-aarch64")
    assert found == (("aarch64", "macos.11.0-none"), "macosx_11_0_arm64")
    assert set(ALL) == {f"{system}-{machine}" for system in build.SYSTEMS for machine in build.SETS}
    with pytest.raises(ValueError, match=r"MERCURY_TARGET must be one of .*, not 'amiga-68000'"):
        told(build, monkeypatch, "amiga-68000")


def told(build: ModuleType, monkeypatch: pytest.MonkeyPatch, wanted: str) -> tuple[tuple[str, str], str]:
    """What is compiled, and the wheel's platform."""
    built: list[tuple[str, str]] = []
    monkeypatch.setattr(build, "build", lambda *target: built.append(target))
    monkeypatch.setenv(build.TARGET, wanted)
    data: dict[str, Any] = {"artifacts": [], "pure_python": True}
    hook_of(build, warnings := []).initialize("standard", data)
    assert (data["artifacts"], data["pure_python"]) == (["/mercury_lsp/engine/kernel/kernel.lib"], False)
    assert not warnings
    return built[0], data["tag"].removeprefix("py3-none-")


@pytest.mark.parametrize(("system", "machine"), [("linux", "riscv64"), ("freebsd14", "x86_64")])
def test_other_machines_get_a_wheel_without(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    data: dict[str, Any] = {"artifacts": [], "pure_python": True}
    hook_of(build, warnings := []).initialize("standard", data)
    assert data == {"artifacts": [], "pure_python": True}
    assert len(warnings) == 1 and machine in warnings[0]


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_the_kernel_compiles_here(build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if LOCAL not in build.SETS or build.target_platform()[0] not in build.SYSTEMS:
        pytest.skip(f"there is no kernel for {LOCAL} on {sys.platform}")
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "kernel.lib")
    monkeypatch.setattr(mapping, "LIBRARY", tmp_path / "kernel.lib")
    build.build(LOCAL, build.SYSTEMS[build.target_platform()[0]][0])
    mapping.kernel_library.cache_clear()
    try:
        sets = kernel.instruction_sets()
    finally:
        mapping.kernel_library.cache_clear()
    assert sets[-1] == "plain" and set(sets) <= set(build.SETS[LOCAL])
