"""Compiles the kernel when the package is built or installed from source, with the C compiler of the `ziglang` wheel.

That wheel is asked for by `pyproject.toml` and lives as long as the build: nobody needs a compiler of their own, and
wheels hold the library. Owns the instruction sets that there are. Knows nothing of what the kernel does.
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
SYSTEMS = {"linux": "linux-gnu.2.28", "darwin": "macos.11.0-none", "win32": "windows-gnu"}
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
    """The build backend's hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell the backend what that makes of the wheel. A machine that the kernel knows nothing of gets
        none: there the server needs torch."""
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
        if machine not in SETS or sys.platform not in SYSTEMS:
            self.app.display_warning(f"No kernel for {machine} on {sys.platform}.")
            return
        build(machine, SYSTEMS[sys.platform])
        build_data["artifacts"].append(f"/{LIBRARY.relative_to(self.root).as_posix()}")
        build_data["pure_python"] = False
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{tag}"


def build(machine: str, system: str) -> None:
    """Compile `LIBRARY` for a machine and a system of `SETS` and `SYSTEMS`."""
    with tempfile.TemporaryDirectory() as folder:
        target = ("-target", f"{machine}-{system}")
        # Its caches would otherwise stay in the user's home.
        environment = os.environ | {f"ZIG_{kind}_CACHE_DIR": folder for kind in ("GLOBAL", "LOCAL")}

        def cc(*arguments: str) -> None:
            subprocess.run(
                [sys.executable, "-m", "ziglang", "cc", *target, *arguments], check=True, env=environment
            )

        def compiled(name: str) -> str:
            made = str(Path(folder, f"{name}.o"))
            cc(
                *FLAGS,
                f"-mcpu={SETS[machine][name]}",
                f"-DSET={name}",
                "-c",
                str(HERE / "kernel.c"),
                "-o",
                made,
            )
            return made

        with ThreadPoolExecutor() as pool:
            objects = list(pool.map(compiled, SETS[machine]))
        made = Path(folder, LIBRARY.name)
        libraries = () if system.startswith("windows") else ("-lm",)
        cc(*FLAGS, "-shared", "-s", str(HERE / "sets.c"), *objects, "-o", str(made), *libraries)
        LIBRARY.unlink(missing_ok=True)  # a server that runs keeps the one it has loaded
        LIBRARY.write_bytes(made.read_bytes())
