"""A release: its files, their contents, their use in an empty environment, and equal versions everywhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from mercury_lsp import __version__
from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.bench.scenes import SAMPLES_FOLDER, scenes
from mercury_lsp.engine.checkpoints import checkpoint
from model.release import __main__ as release

ROOT = release.ROOT
FORBIDDEN = re.compile(
    r"(^|/)(tests?|model|docs|shared|__pycache__|\.\w+_cache|\.venv)/|\.pyc$|\.safetensors\."
)


def toml(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]  # type: ignore[no-any-return]


def test_all_packages_and_editors_have_the_same_version() -> None:
    mini = toml(release.MINI / "pyproject.toml")
    assert mini["version"] == __version__
    extras = toml(ROOT / "pyproject.toml")["optional-dependencies"]
    assert extras["mini"] == [f"{mini['name']}=={__version__}"]  # type: ignore[index]
    vscode = ROOT / "editors" / "vscode"
    assert json.loads((vscode / "package.json").read_text(encoding="utf-8"))["version"] == __version__
    lock = json.loads((vscode / "package-lock.json").read_text(encoding="utf-8"))
    assert (lock["version"], lock["packages"][""]["version"]) == (__version__, __version__)
    newest = re.search(r"^## (\S+), ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None and newest[1] == __version__
    for path in [*ROOT.glob("editors/emacs/*.el"), *ROOT.glob("editors/neovim/lua/mercury/*.lua")]:
        stated = re.findall(
            r"^;; Version: (\S+)|^M\.version = \"(.+)\"", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert {"".join(version) for version in stated} <= {__version__}, path


def test_the_package_mini_has_the_same_licence() -> None:
    assert (release.MINI / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.whl"
    with large.open("wb") as file:
        file.truncate(release.LARGEST + 1)
    with pytest.raises(release.Refused, match=r"large\.whl has 104,857,601 bytes"):
        release.check([large])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build the files of a release for this machine. `release` checks their sizes and metadata."""
    return release.release(tmp_path_factory.mktemp("dist"))


def contents(file: Path) -> dict[str, bytes]:
    """Return the files of an archive by name; of an sdist, by the name below its top folder."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(file) as sdist:
        return {
            member.name.partition("/")[2]: found.read()
            for member in sdist
            if (found := sdist.extractfile(member)) is not None
        }


def fingerprint(files: Mapping[str, bytes], folder: str) -> str:
    """Return the fingerprint of a folder in an archive, computed as by `checkpoint.fingerprint`."""
    names = sorted(name for name in files if name.startswith(folder) and name.endswith(".safetensors"))
    digest = hashlib.sha256()
    for name in [*names, f"{folder}tokenizer.json"]:
        digest.update(name.rpartition("/")[2].encode() + files[name])
    return digest.hexdigest()


def test_the_archives_contain_exactly_the_expected_files(built: list[Path]) -> None:
    sdist, wheel, mini_sdist, mini = (contents(file) for file in built)
    for files, folder, model in (
        (sdist, "mercury_lsp/weights/small/", "small"),
        (wheel, "mercury_lsp/weights/small/", "small"),
        (mini_sdist, "", "mini"),
        (mini, "mercury_lsp_mini/", "mini"),
    ):
        assert not [name for name in files if FORBIDDEN.search(name)]
        wanted = checkpoint.read_config(checkpoint.SHIPPED / model)["fingerprint"]
        assert fingerprint(files, folder) == wanted
        assert json.loads(files[f"{folder}config.json"])["fingerprint"] == wanted
        assert any(name.endswith("LICENSE") for name in files)
    own = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in (ROOT / "mercury_lsp").rglob("*")
        if path.is_file() and not {"__pycache__", "mini", "kernel"} & set(path.parts)
    }
    assert "mercury_lsp/py.typed" in own
    assert own.items() <= sdist.items()
    assert own.items() <= wheel.items()
    info = f"mercury_lsp-{__version__}.dist-info/"
    assert {name for name in wheel if not name.startswith(info)} == {
        *own,
        "mercury_lsp/engine/kernel/kernel.lib",
    }
    assert {"CHANGELOG.md", "README.md", "mercury_lsp/engine/kernel/kernel.c"} <= sdist.keys()
    # The tag limits the version of glibc that the library may need.
    if "manylinux" in built[1].name:
        glibc = re.findall(rb"GLIBC_2\.(\d+)", wheel["mercury_lsp/engine/kernel/kernel.lib"])
        assert glibc and max(map(int, glibc)) <= 28


def test_the_wheel_serves_in_an_empty_environment(
    built: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel was built from the sdist. There is no torch, and the checkout is not on Python's path."""
    venv.create(tmp_path / "venv", with_pip=True)
    folder = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    for name in ("PYTHONPATH", "MERCURY_MODEL", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def ran(*command: str | Path, status: int = 0) -> str:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    python, program = folder / "python", folder / "mercury-lsp"
    ran(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", built[1])
    assert ran(program, "--version") == f"mercury-lsp {__version__}\n"
    assert "--stdio" in ran(program, "--help")
    found = json.loads(ran(program, "doctor", "--json"))
    assert found["usable"] and found["versions"]["torch"] is None
    assert found["model"]["name"] == "small" and Path(found["model"]["folder"]).is_relative_to(tmp_path)
    assert ran(python, "-c", "import importlib.util as u; print(u.find_spec('model'))") == "None\n"

    source = elsewhere / "total.py"
    source.write_text("def add(a, b):\n    ret", encoding="utf-8")
    place = f"{source}:2:8"
    assert json.loads(ran(program, "complete", place, "--json"))["text"].startswith("urn")
    missing = ran(program, "complete", place, "--model", "mini", status=1)
    assert 'The model mini is not installed; run: pip install "mercury-lsp[mini]"' in missing
    ran(python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", built[3])
    assert json.loads(ran(program, "complete", place, "--json", "--model", "mini"))["model"] == "mini"

    assert asyncio.run(_suggested(str(program)))


async def _suggested(program: str) -> str:
    """Start a server, open a file, and return its suggestion."""
    scene = scenes()[0]
    async with Editor.start(
        SAMPLES_FOLDER, {"show_likelihood": 0, "deadline_ms": 60000}, (program, "--stdio")
    ) as editor:
        await editor.wait_until_loaded()
        buffer = Buffer(editor, scene.uri, scene.language_id, scene.cut)
        buffer.replace(scene.start, scene.start, "self.h")
        return (await buffer.complete(scene.start + len("self.h"))).text
