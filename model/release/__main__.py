"""Builds and checks the files of a release: `make release`.

A release consists of four kinds of files in `dist/`: the sdist of `mercury-lsp`, which contains the model small, and a
wheel for each platform; the sdist of `mercury-lsp-mini`, which contains only the model mini, and one wheel. Wheels are
built from the unpacked sdist, as when a user installs from the sdist: so a file that the sdist lacks is noticed, and
kernels of other platforms never get into the checkout.

To make a release:

1. Set the version in `mercury_lsp/__init__.py`, `mercury_lsp/weights/mini/pyproject.toml`, the extra `mini` in
   `pyproject.toml`, `editors/vscode/package.json` and its lock (`npm version --no-git-tag-version`), and the date in
   the newest heading of `CHANGELOG.md`. `tests/release/test_release.py` reports forgotten places.
2. Run `.ci/run`, then `make release ARGS=--all`, which builds the wheels for all platforms on this machine.
3. Try the wheels on the other platforms: `pip install WHEEL && mercury-lsp doctor && mercury-lsp demo`.
4. Commit, tag as `vVERSION`, and `twine upload dist/*`, `mercury-lsp-mini` first, since `mercury-lsp` depends on it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from model import ROOT

MINI = ROOT / "mercury_lsp" / "weights" / "mini"
# PyPI's default limit of a file, in bytes: docs.pypi.org/project-management/storage-limits, and MAX_FILESIZE in
# warehouse/forklift/legacy.py of its source.
LARGEST = 100 << 20
ALL = (
    *("linux-x86_64", "linux-aarch64", "musl-x86_64", "musl-aarch64"),
    *("macos-x86_64", "macos-aarch64", "windows-x86_64", "windows-aarch64"),
)


class Refused(Exception):
    """The built files cannot be released; the message is one sentence."""


def release(to: Path, targets: Sequence[str] = ("",)) -> list[Path]:
    """Build all files into a folder, check them, and return them, the sdist of `mercury-lsp` first.

    targets: the platforms, as in `kernel/build.py`; "" is this machine. Older files of these distributions in the
    folder are deleted. Raises `Refused`, or `CalledProcessError` if a tool fails, which prints the reason.
    """
    to.mkdir(parents=True, exist_ok=True)
    for old in (*to.glob("mercury_lsp-*"), *to.glob("mercury_lsp_mini-*")):
        old.unlink()
    made = [_build(ROOT, to, "sdist")]
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(made[0]) as sdist:
            sdist.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        made += [_build(unpacked, to, "wheel", target) for target in targets]
    with tempfile.TemporaryDirectory() as folder:
        made.append(_build(MINI, to, "sdist"))
        with tarfile.open(made[-1]) as sdist:
            sdist.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        made.append(_build(unpacked, to, "wheel"))
    check(made)
    return made


def check(files: Sequence[Path]) -> None:
    """Check the size and the metadata of files. Raises as `release` does if PyPI would refuse a file."""
    for file in files:
        if file.stat().st_size > LARGEST:
            raise Refused(f"{file.name} has {file.stat().st_size:,} bytes, and PyPI takes {LARGEST:,}.")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], check=True)


def _build(source: Path, to: Path, kind: str, target: str = "") -> Path:
    """Build one file by the build backend of the source, in an isolated environment."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "build", f"--{kind}", "--outdir", folder, str(source)],
            check=True,
            env=os.environ | {"MERCURY_TARGET": target},
        )
        (made,) = Path(folder).iterdir()
        return Path(shutil.move(made, to / made.name))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 if the release failed."""
    parser = argparse.ArgumentParser(
        prog="python -m model.release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--to", type=Path, default=ROOT / "dist", help="folder (default: dist of the checkout)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--target", metavar="SYSTEM-MACHINE", action="append", help=f"one of {', '.join(ALL)}")
    which.add_argument(
        "--all", action="store_true", help="build wheels for all these targets, not only for this machine"
    )
    arguments = parser.parse_args(argv)
    targets = ALL if arguments.all else arguments.target or ("",)
    try:
        made = release(arguments.to, targets)
    except (Refused, subprocess.CalledProcessError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    for file in made:
        print(f"{file.stat().st_size / (1 << 20):6.1f} MiB  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
