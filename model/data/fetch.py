"""Downloads named packages of PyPI, npm and Debian, and lists the files in them.

Packages are fetched by the ordinary clients of the three registries, by name and pinned version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

KINDS = ("pypi", "npm", "debian", "debian-source")

# Larger files, in bytes, are not hand-written source code and are not unpacked.
LARGEST = 1_000_000


class FetchError(Exception):
    """A package could not be fetched. The message names the failure and the fix, in one line."""


def fetch(kind: str, name: str, version: str, downloads: Path) -> tuple[Path, ...]:
    """Return the archives of one package; download them unless ``downloads`` contains a complete earlier download.

    Raises :class:`FetchError` if the client, the network or the version is not available.
    """
    folder = downloads / kind / f"{name.replace('/', '+')}={version.replace(':', '%3a')}"
    if not folder.is_dir():
        # Renamed when complete, so that an interrupted download leaves no incomplete package.
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _client(kind, name, version, part, downloads)
        part.rename(folder)
    archives = tuple(sorted(path for path in folder.iterdir() if _is_source_archive(path.name)))
    if not archives:
        raise FetchError(f"{name} {version} ({kind}) holds no archive; remove {folder} and run again")
    return archives


def _is_source_archive(name: str) -> bool:
    """Return whether a file is an archive of source code; the packaging part of a Debian source package is not."""
    if name.endswith((".whl", ".zip", ".tgz", ".deb")):
        return True
    return name.endswith((".tar.gz", ".tar.bz2", ".tar.xz")) and ".debian.tar." not in name


def _client(kind: str, name: str, version: str, folder: Path, downloads: Path) -> None:
    match kind:
        case "pypi":
            # One fixed target, so that every machine gets the same wheel.
            target = ["--only-binary=:all:", "--python-version=3.13", "--implementation=cp"]
            platforms = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")
            target += [f"--platform={platform}" for platform in platforms]
            pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
            _run([*pip, "--no-deps", "--dest=.", *target, f"{name}=={version}"], folder)
        case "npm":
            _run(["npm", "pack", "--silent", "--ignore-scripts", f"{name}@{version}"], folder)
        case "debian":
            _run(["apt-get", *_private_apt(downloads), "download", f"{name}={version}"], folder)
        case "debian-source":
            apt = [*_private_apt(downloads), "--download-only"]
            _run(["apt-get", *apt, "source", f"{name}={version}"], folder)
        case _:
            raise FetchError(f"{name}: unknown kind {kind!r}; the manifest knows {', '.join(KINDS)}")


def _run(command: list[str], folder: Path) -> None:
    what = f"{command[-1]} ({Path(command[0]).name if command[0] != sys.executable else 'pip'})"
    if shutil.which(command[0]) is None:
        raise FetchError(f"{what}: the program {command[0]} is not installed here; install it and run again")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        complaint = next((s for s in said if s.lower().startswith(("error", "e:", "npm err"))), "no reason")
        raise FetchError(
            f"{what}: {complaint} - if this machine is offline, connect it and run again (downloads are kept); "
            "if that version is gone, put the present one in the manifest and check its licence"
        )


def _private_apt(downloads: Path) -> list[str]:
    """Return options that give apt its own package lists, which include the distribution's source packages.

    The system's configuration is not changed; its source entries are copied, with ``deb-src`` added.
    """
    root = (downloads / "apt").absolute()
    parts, lists, cache = root / "sources", root / "lists", root / "cache"
    options = [
        f"-oDir::Etc::sourceparts={parts}",
        "-oDir::Etc::sourcelist=/dev/null",
        f"-oDir::State::lists={lists}",
        f"-oDir::Cache={cache}",
        "-oAPT::Sandbox::User=root" if os.geteuid() == 0 else "-oAPT::Sandbox::User=",
    ]
    if (root / "ready").exists():
        return options
    for folder in (parts, lists / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    etc = Path("/etc/apt")
    own = [
        etc / "sources.list",
        *(etc / "sources.list.d" / f"{name}.sources" for name in ("debian", "ubuntu")),
    ]
    for file in filter(Path.is_file, own):
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".sources":
            text = text.replace("Types: deb\n", "Types: deb deb-src\n")
        else:
            lines = [line for line in text.splitlines() if line.startswith("deb ")]
            text = "\n".join([*lines, *(line.replace("deb ", "deb-src ", 1) for line in lines)]) + "\n"
        (parts / file.name).write_text(text, encoding="utf-8")
    _run(["apt-get", *options, "--quiet", "update"], root)
    (root / "ready").touch()
    return options


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the relative POSIX path and the content of every regular file of at most ``LARGEST`` bytes in an archive.

    Paths omit the top folder of an sdist, an npm package or a source tarball. Raises :class:`FetchError` for a damaged
    archive.
    """
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as bundle:
                for info in bundle.infolist():
                    if not info.is_dir() and info.file_size <= LARGEST:
                        yield info.filename, bundle.read(info)
        elif archive.suffix == ".deb":
            command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
            with (
                subprocess.Popen(command, stdout=subprocess.PIPE) as unpacker,
                tarfile.open(fileobj=unpacker.stdout, mode="r|") as bundle,
            ):
                yield from _files(bundle, wrapped=False)
        else:
            with tarfile.open(archive, mode="r|*") as bundle:
                yield from _files(bundle, wrapped=True)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise FetchError(f"{archive} cannot be read ({error}); remove its folder and run again") from error


def _files(bundle: tarfile.TarFile, wrapped: bool) -> Iterator[tuple[str, bytes]]:
    for info in bundle:
        path = PurePosixPath(info.name)
        parts = path.parts[1:] if wrapped or path.parts[:1] == (".",) else path.parts
        if info.isfile() and info.size <= LARGEST and parts:
            content = bundle.extractfile(info)
            if content is not None:
                yield "/".join(parts), content.read()
