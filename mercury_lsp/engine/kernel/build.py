"""Compiles the kernel when the package is built or installed from source, with the C compiler of the `ziglang` wheel.

`pyproject.toml` requires `ziglang` for the build only: the wheels contain the library, so users need no compiler. The
compiler can cross-compile: the environment variable `MERCURY_TARGET`, a system and a machine such as `macos-aarch64`,
selects the platform of the wheel.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
LIBRARY = HERE / "kernel.lib"
SETS = {
    "x86_64": {
        "avx512": "x86_64_v4+avx512vnni",
        "avxvnni": "x86_64_v3+avxvnni",
        "avx2": "x86_64_v3",
        "plain": "x86_64",
    },
    "aarch64": {"dotprod": "generic+v8_2a+dotprod", "plain": "generic"},
}
# By system: the compiler's target name, and the wheel's platform tag, with the oldest supported system version.
SYSTEMS = {
    "linux": ("linux-gnu.2.28", "manylinux_2_28_{machine}"),
    "musl": ("linux-musl", "musllinux_1_2_{machine}"),
    "macos": ("macos.11.0-none", "macosx_11_0_{machine}"),
    "windows": ("windows-gnu", "win_{machine}"),
}
TARGET = "MERCURY_TARGET"
# The machine's name in the wheel's tag, if it differs from the compiler's name.
_TAGGED = {
    ("macos", "aarch64"): "arm64",
    ("windows", "aarch64"): "arm64",
    ("windows", "x86_64"): "amd64",
}
FLAGS = (
    "-O3",
    "-std=c11",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
)


class Hook(BuildHookInterface):
    """Hatchling's build hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the library, and set the wheel's tag. Without a kernel for the machine, users need PyTorch."""
        system, machine = target_platform()
        if machine not in SETS or system not in SYSTEMS:
            if os.environ.get(TARGET):
                known = ", ".join(f"{system}-{machine}" for system in SYSTEMS for machine in SETS)
                raise ValueError(f"{TARGET} must be one of {known}, not {os.environ[TARGET]!r}.")
            self.app.display_warning(f"No kernel for {machine} on {system}.")
            return
        called, tag = SYSTEMS[system]
        build(machine, called)
        build_data["artifacts"].append(f"/{LIBRARY.relative_to(self.root).as_posix()}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag.format(machine=_TAGGED.get((system, machine), machine))}"


def target_platform() -> tuple[str, str]:
    """Return the target system and machine, by the names of `SYSTEMS` and `SETS`; others have no kernel."""
    if target := os.environ.get(TARGET):
        system, _, machine = target.partition("-")
        return system, machine
    machine = platform.machine().lower()
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    if system == "linux" and "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or ""):
        system = "musl"
    return system, {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def build(machine: str, system: str) -> None:
    """Compile `LIBRARY`. machine: one of `SETS`. system: the compiler's name of one of `SYSTEMS`."""
    with tempfile.TemporaryDirectory() as folder:
        target = ("-target", f"{machine}-{system}")
        # Otherwise the compiler would leave its caches in the user's home folder.
        environment = os.environ | {f"ZIG_{kind}_CACHE_DIR": folder for kind in ("GLOBAL", "LOCAL")}

        def cc(*arguments: str) -> None:
            subprocess.run(
                [sys.executable, "-m", "ziglang", "cc", *target, *arguments], check=True, env=environment
            )

        def compile_kernel(name: str) -> str:
            object_file = str(Path(folder, f"{name}.o"))
            cc(
                *FLAGS,
                f"-mcpu={SETS[machine][name]}",
                f"-DSET={name}",
                "-c",
                str(HERE / "kernel.c"),
                "-o",
                object_file,
            )
            return object_file

        with ThreadPoolExecutor() as pool:
            objects = list(pool.map(compile_kernel, SETS[machine]))
        library = Path(folder, LIBRARY.name)
        libraries = () if system.startswith("windows") else ("-lm",)
        cc(*FLAGS, "-shared", "-s", str(HERE / "sets.c"), *objects, "-o", str(library), *libraries)
        # Unlink first, so that a running server keeps the library that it has loaded.
        LIBRARY.unlink(missing_ok=True)
        LIBRARY.write_bytes(library.read_bytes())
