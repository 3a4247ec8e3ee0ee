"""Decides which files of a workspace may be read, and reads them.

A file is never read through a link, and never if it is private, ignored, binary, large or generated. The checks fail
closed: an unreadable rules file ignores everything in its folder. All functions are safe to call from any thread. Paths
are absolute and have `/` on every platform.
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
from mercury_lsp.context.gitignore import EXCLUDE_FILE, RULE_FAMILIES, IgnoreRules, Rules
from mercury_lsp.context.private_files import is_private
from mercury_lsp.context.wildmatch import Wildmatch
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation
from mercury_lsp.syntax.languages import for_document

# Longer files are seldom written by people.
MAX_FILE_BYTES = 200_000
MAX_RULES_BYTES = 1_000_000
# The size limit of an `.editorconfig`, and how many of them are applied to a file.
MAX_STYLE_BYTES, MAX_STYLES = 65_536, 16
# A file with a longer line or a greater mean line length counts as minified.
MAX_LINE_CHARACTERS, MAX_MEAN_CHARACTERS = 5_000, 200
SKIPPED = {"node_modules", "bower_components", "__pycache__", "site-packages", "__pypackages__", "venv"}
# A folder that contains one of these files is not source code.
TOOL_FOLDER_MARKERS = {"pyvenv.cfg", "cachedir.tag"}
# Whether the platform's file systems usually ignore case.
IGNORE_CASE = sys.platform in ("win32", "darwin")

Stamp = tuple[int, int]
"""The modification time of a file in ns, and its size in bytes."""


@dataclass(frozen=True, slots=True)
class FileAccess:
    """How a document may be used: for other documents if it is `inside` the workspace and not `ignored`.

    `ignored`: by rules, or because it is `private`: its name, or the name of its link target, is that of a file with
    secrets. `indentation`: from the project's `.editorconfig` files.
    """

    ignored: bool
    inside: bool
    private: bool = False
    indentation: Indentation = NO_INDENTATION


class Files:
    """The files below some folders, the `roots`. Rules are cached until `refresh` or `forget`."""

    def __init__(self, roots: Iterable[str] = ()) -> None:
        self.roots = tuple(dict.fromkeys(root.rstrip("/") or "/" for root in roots))
        self._real_roots = tuple(_real_path(root) for root in self.roots)
        self._merged_rules: dict[str, tuple[str, IgnoreRules]] = {}
        # The rules files directly in a folder, shared by the chains of all folders below it.
        self._folder_rules: dict[str, dict[str, Rules]] = {}
        # Their patterns with wildcards, by their lines, which folders share.
        self._wildcards: dict[str, Wildmatch] = {}
        self._styles: dict[str, EditorConfig] = {}
        self._stamps: dict[str, Stamp | None] = {}

    def forget(self) -> None:
        """Drop all cached rules, so that they are read again on the next use."""
        # New dictionaries: a thread that is reading rules meanwhile fills the old ones.
        self._merged_rules, self._folder_rules, self._wildcards = {}, {}, {}
        self._styles, self._stamps = {}, {}

    def refresh(self) -> bool:
        """Drop the cached rules if a rules file was changed, created or deleted, and return whether that is so."""
        changed = any(_stamp(path) != stamp for path, stamp in list(self._stamps.items()))
        if changed:
            self.forget()
        return changed

    def root(self, path: str) -> str | None:
        """Return the innermost root whose name is a prefix of a path, or None."""
        matching = [root for root in self.roots if path.startswith(root.rstrip("/") + "/")]
        return max(matching, key=len, default=None)

    def name(self, path: str) -> str:
        """Return a path relative to its root, or the whole path if it lies in none."""
        root = self.root(path)
        return path if root is None else path[len(root.rstrip("/")) + 1 :]

    def access(self, path: str) -> FileAccess:
        """Return how the document of a file, which need not exist, may be used. Both ends of a link must be allowed."""
        real = _real_path(path)
        private = any(map(is_private, (path, real)))
        ignored = private or any(self.ignores(name) for name in {path, real})
        inside = any(real.startswith(root.rstrip("/") + "/") for root in self._real_roots)
        return FileAccess(ignored, inside and self.root(path) is not None, private, self.indentation(path))

    def indentation(self, path: str) -> Indentation:
        """Return a file's indentation by `.editorconfig` files, from its own folder up to the top of the repository."""
        folder, properties = _parent(path), list[dict[str, str]]()
        for above in _ancestors(folder, self._top(folder)):
            style = self._style(above)
            if style != EditorConfig():
                properties.append(style.properties(path[len(above.rstrip("/")) + 1 :]))
            if style.root or len(properties) == MAX_STYLES:
                break
        return indentation(properties)

    def ignores(self, path: str) -> bool:
        """Return whether rules ignore a file or a folder that contains it. A path that ends in `/` names a folder."""
        top, rules = self._rules(_parent(path))
        return rules(path[len(top.rstrip("/")) + 1 :])

    def walk_reaches(self, folder: str) -> bool:
        """Return whether a walk from the roots gets to a folder: neither the folder nor one on the way is skipped."""
        root = self.root(folder + "/")
        if root is None:
            return False
        while folder != root:
            if not self._should_enter(folder):
                return False
            folder = _parent(folder)
        return True

    def list_folder(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the files to read and the folders to walk that lie directly in a folder, both sorted."""
        # `scandir` raises `ValueError` for a name with a null character.
        with suppress(OSError, ValueError), os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
            if TOOL_FOLDER_MARKERS.isdisjoint(entry.name.lower() for entry in listed):
                base = folder.rstrip("/")
                files = [f"{base}/{entry.name}" for entry in listed if entry.is_file(follow_symlinks=False)]
                folders = [f"{base}/{entry.name}" for entry in listed if entry.is_dir(follow_symlinks=False)]
                entered = [path for path in folders if path not in self.roots and self._should_enter(path)]
                return [path for path in files if self.should_read(path)], entered
        return [], []

    def should_read(self, path: str) -> bool:
        """Return whether a file in a walked folder should be read, by its name and the rules."""
        language = for_document("", path)
        return language is not None and language.indexed and not is_private(path) and not self.ignores(path)

    def read(self, path: str, unless: Stamp | None = None) -> tuple[Stamp, str] | None:
        """Return a file's stamp and text, or None if the file is not fit to be read.

        The text is "" if the stamp equals `unless`.
        """
        try:
            if os.path.islink(path):
                return None
            with _open_regular(path, getattr(os, "O_NOFOLLOW", 0)) as file:
                status = os.fstat(file.fileno())
                stamp = status.st_mtime_ns, status.st_size
                if status.st_size > MAX_FILE_BYTES:
                    return None
                if stamp == unless:
                    return stamp, ""
                text = file.read(MAX_FILE_BYTES + 1).decode("utf-8-sig")
        # The file is gone, is not readable, or is not UTF-8.
        except (OSError, ValueError):
            return None
        return (stamp, text) if looks_handwritten(text) else None

    def _should_enter(self, folder: str) -> bool:
        """Return whether a walk enters a folder, regardless of the folder's parents.

        Links and hidden, private or ignored folders are skipped, as well as folders of tools, such as `node_modules`.
        """
        name = folder.rpartition("/")[2]
        skipped = name.startswith(".") or name.lower() in SKIPPED or is_private(f"{folder}/x")
        return not skipped and not os.path.islink(folder) and not self.ignores(f"{folder}/")

    def _rules(self, folder: str) -> tuple[str, IgnoreRules]:
        """Return the rules for the entries of a folder, and the top folder that their paths are relative to."""
        merged_rules, read, stamps = self._merged_rules, self._folder_rules, self._stamps
        wildcards = self._wildcards
        if folder not in merged_rules:
            top = self._top(folder)
            rules = {}
            for above in _ancestors(folder, top):
                if above not in read:
                    read[above] = dict(_rules_in(above, stamps, wildcards))
                if read[above]:
                    rules[above[len(top.rstrip("/")) + 1 :]] = read[above]
            merged_rules[folder] = top, IgnoreRules(rules, IGNORE_CASE)
        return merged_rules[folder]

    def _style(self, folder: str) -> EditorConfig:
        """Return the contents of a folder's `.editorconfig`; empty if it is a link, too large or not a regular file."""
        styles, stamps = self._styles, self._stamps
        if folder not in styles:
            path, text = f"{folder.rstrip('/')}/{NAME}", ""
            stamps[path] = stamp = _stamp(path)
            with suppress(OSError, ValueError):
                if stamp is not None and not os.path.islink(path) and 0 <= stamp[1] <= MAX_STYLE_BYTES:
                    text = _read_regular(path, MAX_STYLE_BYTES)
            styles[folder] = EditorConfig.of(text)
        return styles[folder]

    def _top(self, folder: str) -> str:
        """Return the top folder of the rules that apply in a folder.

        This is the repository that contains the folder's root, or the root itself if it is in no repository. For a
        folder outside of all roots, the folder takes the place of the root.
        """
        base = self.root(folder + "/") or folder
        return next((above for above in _ancestors(base, "/") if os.path.lexists(f"{above}/.git")), base)


def _rules_in(
    folder: str, stamps: dict[str, Stamp | None], wildcards: dict[str, Wildmatch]
) -> Iterator[tuple[str, Rules]]:
    """Yield the name and the rules of each rules file in a folder; record the files' stamps and wildcard patterns."""
    for name in (name for family in RULE_FAMILIES for name in family):
        path = _exclude_path(folder) if name == EXCLUDE_FILE else f"{folder.rstrip('/')}/{name}"
        stamps[path] = stamp = _stamp(path)
        if stamp is not None:
            yield name, Rules.of(_rules_text(path, stamp), IGNORE_CASE, wildcards)


@contextmanager
def _open_regular(path: str, flags: int = 0) -> Iterator[BinaryIO]:
    """Open a regular file for reading, without ever blocking. Raises `OSError` for anything else."""
    flags |= os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("no regular file")
        yield file


def _read_regular(path: str, limit: int) -> str:
    """Return the text of a regular file, at most ``limit`` bytes of it. Raises `OSError`."""
    with _open_regular(path) as file:
        return file.read(limit).decode("utf-8", "replace")


def _rules_text(path: str, stamp: Stamp) -> str:
    # A name that contains a null character raises `ValueError`.
    with suppress(OSError, ValueError):
        # git, too, reads no rules from a directory of this name.
        if os.path.isdir(path):
            return ""
        text = "" if stamp[1] > MAX_RULES_BYTES else _read_regular(path, MAX_RULES_BYTES + 1)
        if max(len(text), stamp[1]) <= MAX_RULES_BYTES:
            return text
    return "*"


def _exclude_path(folder: str) -> str:
    """Return the path of a repository's `info/exclude`. In a work tree, `.git` is a file that names the repository."""
    git = f"{folder.rstrip('/')}/.git"
    if os.path.isfile(git):
        with suppress(OSError, ValueError):
            git = os.path.join(folder, _read_regular(git, 10_000).removeprefix("gitdir:").strip())
            git = os.path.join(git, _read_regular(f"{git}/commondir", 10_000).strip())
    return f"{git}/info/exclude"


def looks_handwritten(text: str) -> bool:
    """Return whether a text looks written by people: no binary data, and not minified."""
    lines = text.split("\n")
    short = max(map(len, lines)) <= MAX_LINE_CHARACTERS
    return short and "\0" not in text and len(text) <= MAX_MEAN_CHARACTERS * len(lines) + 1_000


def is_project(folder: str) -> bool:
    """Return whether a folder is neither the home folder, nor above it, nor a whole disk, which should not be read."""
    home, root = Path.home(), folder.rstrip("/")
    return root != "" and not root.endswith(":") and Path(root) not in (home, *home.parents)


def _stamp(path: str) -> Stamp | None:
    """Return the stamp of a path, or None if nothing exists there. An unreadable path has a stamp that no file has."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return -1, -1
    return status.st_mtime_ns, status.st_size


def _ancestors(folder: str, top: str) -> Iterator[str]:
    """Yield a folder, then its parents up to `top`."""
    yield folder
    while folder != top and (above := _parent(folder)) != folder:
        yield (folder := above)


def _parent(path: str) -> str:
    """Return the parent of a path; a root of the file system is its own parent."""
    path = path.rstrip("/")
    parent = path.rpartition("/")[0]
    if not parent or parent.endswith(":"):
        return f"{parent}/"
    return parent


def _real_path(path: str) -> str:
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):
        return path
    return real.replace("\\", "/") if os.sep == "\\" else real
