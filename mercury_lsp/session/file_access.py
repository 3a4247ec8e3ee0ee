"""Tells which files of a workspace may be read, and reads them.

A file is never read through a link, and not if it is private, ignored, binary, large or generated. It fails closed: a
rules file that cannot be read ignores all in its folder. Any thread may ask. Paths are absolute and have `/` on every
platform.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mercury_lsp.context.editorconfig import NAME, EditorConfig, indentation
from mercury_lsp.context.gitignore import EXCLUDE, FAMILIES, Ignored, Rules
from mercury_lsp.context.private_files import is_private
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation
from mercury_lsp.syntax.languages import for_document

# Longer files are seldom written by people.
MAX_FILE_BYTES = 200_000
MAX_RULES_BYTES = 1_000_000
# Of an `.editorconfig`, and how many of them are looked at for a file.
MAX_STYLE_BYTES, MAX_STYLES = 65_536, 16
# A file with more is taken to be minified.
MAX_LINE_CHARACTERS, MAX_MEAN_CHARACTERS = 5_000, 200
SKIPPED = {"node_modules", "bower_components", "__pycache__", "site-packages", "__pypackages__", "venv"}
# A folder with one of these is no source.
MARKS = {"pyvenv.cfg", "cachedir.tag"}
# Whether upper and lower case mostly name the same file.
FOLD = sys.platform in ("win32", "darwin")

Stamp = tuple[int, int]
"""When a file was changed, in ns, and its bytes."""


@dataclass(frozen=True, slots=True)
class FileAccess:
    """What may be done with a document: be used for other documents if it is `inside` and not `ignored`.

    `ignored`: by rules, or because it is `private`: its name, or that of what it links to, is one of secrets.
    `indentation`: as the project's `.editorconfig` files say.
    """

    ignored: bool
    inside: bool
    private: bool = False
    indentation: Indentation = NO_INDENTATION


class Files:
    """The files below some folders, the `roots`. What it has read of rules it keeps until `refresh` or `forget`."""

    def __init__(self, roots: Iterable[str] = ()) -> None:
        self.roots = tuple(dict.fromkeys(root.rstrip("/") or "/" for root in roots))
        self._real = tuple(_real(root) for root in self.roots)
        self._chains: dict[str, tuple[str, Ignored]] = {}
        # What lies directly in a folder, which the chains of all folders below share.
        self._own: dict[str, dict[str, Rules]] = {}
        self._styles: dict[str, EditorConfig] = {}
        self._stamps: dict[str, Stamp | None] = {}

    def forget(self) -> None:
        """Read the rules again when they are needed."""
        # A thread that reads meanwhile fills the old ones.
        self._chains, self._own, self._styles, self._stamps = {}, {}, {}, {}

    def refresh(self) -> bool:
        """Forget the rules if a file of them has changed, came or went; whether it is so."""
        changed = any(_stamp(path) != stamp for path, stamp in list(self._stamps.items()))
        if changed:
            self.forget()
        return changed

    def root(self, path: str) -> str | None:
        """The innermost root that a path lies in, by its name."""
        fitting = [root for root in self.roots if path.startswith(root.rstrip("/") + "/")]
        return max(fitting, key=len, default=None)

    def name(self, path: str) -> str:
        """A path from its root; whole where it has none."""
        root = self.root(path)
        return path if root is None else path[len(root.rstrip("/")) + 1 :]

    def access(self, path: str) -> FileAccess:
        """What may be done with the document of a file, which need not exist. Both ends of a link must be allowed."""
        real = _real(path)
        private = any(map(is_private, (path, real)))
        ignored = private or any(self.ignores(name) for name in {path, real})
        inside = any(real.startswith(root.rstrip("/") + "/") for root in self._real)
        return FileAccess(ignored, inside and self.root(path) is not None, private, self.indentation(path))

    def indentation(self, path: str) -> Indentation:
        """What `.editorconfig` files say of a file, from its own folder up to the repository's top."""
        folder, properties = _parent(path), list[dict[str, str]]()
        for above in _upwards(folder, self._top(folder)):
            style = self._style(above)
            if style != EditorConfig():
                properties.append(style.properties(path[len(above.rstrip("/")) + 1 :]))
            if style.root or len(properties) == MAX_STYLES:
                break
        return indentation(properties)

    def ignores(self, path: str) -> bool:
        """Whether rules ignore a file, or a folder that it lies in. A path that ends in `/` is a folder's."""
        top, rules = self._rules(_parent(path))
        return rules(path[len(top.rstrip("/")) + 1 :])

    def reaches(self, folder: str) -> bool:
        """Whether a folder is one of those that are looked into: a root, or below it with nothing else between."""
        root = self.root(folder + "/")
        if root is None:
            return False
        while folder != root:
            if not self._looks_into(folder):
                return False
            folder = _parent(folder)
        return True

    def inside_of(self, folder: str) -> tuple[list[str], list[str]]:
        """The files to read and the folders to look into that lie directly in a folder, each sorted."""
        # A name with a null in it is a `ValueError`, and none.
        with suppress(OSError, ValueError), os.scandir(folder) as entries:
            inner = sorted(entries, key=lambda entry: entry.name)
            if MARKS.isdisjoint(entry.name.lower() for entry in inner):
                base = folder.rstrip("/")
                files = [f"{base}/{entry.name}" for entry in inner if entry.is_file(follow_symlinks=False)]
                folders = [f"{base}/{entry.name}" for entry in inner if entry.is_dir(follow_symlinks=False)]
                looked_into = [path for path in folders if path not in self.roots and self._looks_into(path)]
                return [path for path in files if self.wants(path)], looked_into
        return [], []

    def wants(self, path: str) -> bool:
        """Whether a file in a folder that is looked into is one to read, by its name and the rules."""
        language = for_document("", path)
        return language is not None and language.indexed and not is_private(path) and not self.ignores(path)

    def read(self, path: str, unless: Stamp | None = None) -> tuple[Stamp, str] | None:
        """A file's stamp and text; no text where the stamp is as told. None where it is not fit to be read."""
        try:
            if os.path.islink(path):
                return None
            with _opened(path, getattr(os, "O_NOFOLLOW", 0)) as file:
                status = os.fstat(file.fileno())
                stamp = status.st_mtime_ns, status.st_size
                if status.st_size > MAX_FILE_BYTES:
                    return None
                if stamp == unless:
                    return stamp, ""
                text = file.read(MAX_FILE_BYTES + 1).decode("utf-8-sig")
        except (OSError, ValueError):  # it is gone, it may not be read, or it is not UTF-8
            return None
        return (stamp, text) if by_hand(text) else None

    def _looks_into(self, folder: str) -> bool:
        """Whether a folder, apart from what it lies in, is no link, hidden, of tools, private or ignored."""
        name = folder.rpartition("/")[2]
        skipped = name.startswith(".") or name.lower() in SKIPPED or is_private(f"{folder}/x")
        return not skipped and not os.path.islink(folder) and not self.ignores(f"{folder}/")

    def _rules(self, folder: str) -> tuple[str, Ignored]:
        """The top folder whose rules, and those below it, count for what lies directly in a folder; and the rules."""
        chains, read, stamps = self._chains, self._own, self._stamps
        if folder not in chains:
            top = self._top(folder)
            rules = {}
            for above in _upwards(folder, top):
                if above not in read:
                    read[above] = dict(_rules_in(above, stamps))
                if read[above]:
                    rules[above[len(top.rstrip("/")) + 1 :]] = read[above]
            chains[folder] = top, Ignored(rules, FOLD)
        return chains[folder]

    def _style(self, folder: str) -> EditorConfig:
        """What a folder's own `.editorconfig` says: nothing where it is a link, too large, or no regular file."""
        styles, stamps = self._styles, self._stamps
        if folder not in styles:
            path, text = f"{folder.rstrip('/')}/{NAME}", ""
            stamps[path] = stamp = _stamp(path)
            with suppress(OSError, ValueError):
                if stamp is not None and not os.path.islink(path) and 0 <= stamp[1] <= MAX_STYLE_BYTES:
                    text = _regular(path, MAX_STYLE_BYTES)
            styles[folder] = EditorConfig.of(text)
        return styles[folder]

    def _top(self, folder: str) -> str:
        """The repository around a folder's root, or around the folder where it has none; else the one or the other."""
        base = self.root(folder + "/") or folder
        return next((above for above in _upwards(base, "/") if os.path.lexists(f"{above}/.git")), base)


def _rules_in(folder: str, stamps: dict[str, Stamp | None]) -> Iterator[tuple[str, Rules]]:
    """The rules that lie directly in a folder, by their files' names; notes when these were changed."""
    for name in (name for family in FAMILIES for name in family):
        path = _exclude(folder) if name == EXCLUDE else f"{folder.rstrip('/')}/{name}"
        stamps[path] = stamp = _stamp(path)
        if stamp is not None:
            yield name, Rules.of(_rules_text(path, stamp), FOLD)


@contextmanager
def _opened(path: str, flags: int = 0) -> Iterator[BinaryIO]:
    """A regular file, for reading. Raises `OSError` for anything else, and never waits."""
    flags |= os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("no regular file")
        yield file


def _regular(path: str, limit: int) -> str:
    """The text of a regular file, at most ``limit`` bytes of it. Raises `OSError`."""
    with _opened(path) as file:
        return file.read(limit).decode("utf-8", "replace")


def _rules_text(path: str, stamp: Stamp) -> str:
    with suppress(OSError, ValueError):  # a name with a null in it is none
        if os.path.isdir(path):  # for git, too, this is none
            return ""
        text = "" if stamp[1] > MAX_RULES_BYTES else _regular(path, MAX_RULES_BYTES + 1)
        if max(len(text), stamp[1]) <= MAX_RULES_BYTES:
            return text
    return "*"


def _exclude(folder: str) -> str:
    """Where a repository keeps its own rules. A work tree has a file that tells where the repository is."""
    git = f"{folder.rstrip('/')}/.git"
    if os.path.isfile(git):
        with suppress(OSError, ValueError):
            git = os.path.join(folder, _regular(git, 10_000).removeprefix("gitdir:").strip())
            git = os.path.join(git, _regular(f"{git}/commondir", 10_000).strip())
    return f"{git}/info/exclude"


def by_hand(text: str) -> bool:
    """Whether a text is one that people write and read, and no data."""
    lines = text.split("\n")
    short = max(map(len, lines)) <= MAX_LINE_CHARACTERS
    return short and "\0" not in text and len(text) <= MAX_MEAN_CHARACTERS * len(lines) + 1_000


def is_project(folder: str) -> bool:
    """Whether a folder is less than the user's whole home, or the disk: nobody means to have those read."""
    home, root = Path.home(), folder.rstrip("/")
    return root != "" and not root.endswith(":") and Path(root) not in (home, *home.parents)


def _stamp(path: str) -> Stamp | None:
    """None where there is nothing. What cannot be looked at has a stamp that no file has."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return -1, -1
    return status.st_mtime_ns, status.st_size


def _upwards(folder: str, top: str) -> Iterator[str]:
    """A folder, then those that it lies in, up to the top."""
    yield folder
    while folder != top and (above := _parent(folder)) != folder:
        yield (folder := above)


def _parent(path: str) -> str:
    """The folder that a path lies in; of a root of the file system, itself."""
    path = path.rstrip("/")
    parent = path.rpartition("/")[0]
    if not parent or parent.endswith(":"):
        return f"{parent}/"
    return parent


def _real(path: str) -> str:
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):
        return path
    return real.replace("\\", "/") if os.sep == "\\" else real
