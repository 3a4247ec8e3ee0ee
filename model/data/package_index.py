"""Builds the library of a corpus package as a server in the package's folder would have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from random import Random

from mercury_lsp.context.retrieval.index import EMPTY, Library, read

# Open documents in addition to the edited one, at most.
OPENED = 5


class PackageIndex:
    """The libraries of packages, built on first use from their files (package, path and text).

    limit: files of a package at most, drawn with the package's name as the seed; 0 for all.
    """

    def __init__(self, files: Iterable[tuple[str, str, str]], limit: int = 0) -> None:
        self._files: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for package, path, text in files:
            self._files[package].append((path, text))
        self._limit = limit
        self._whole: dict[str, Library] = {}

    def library(self, package: str, path: str, opened: Random | None = None) -> Library:
        """Return the library of a package in which ``path`` is edited and other files are open, of its folder first.

        opened: draws the open files and their number, 1 to `OPENED`; without it, the first `OPENED` files by name are
        open.
        """
        whole = self._whole.get(package)
        if whole is None:
            whole = self._whole[package] = self._read(package)
        folder = path.rpartition("/")[0]
        others = sorted(other for other in whole.entries if other != path)
        if opened is not None:
            opened.shuffle(others)
        others.sort(key=lambda other: other.rpartition("/")[0] != folder)
        many = OPENED if opened is None else opened.randint(1, OPENED)
        return Library(whole.entries, tuple(others[:many]))

    def _read(self, package: str) -> Library:
        files = sorted(self._files.get(package, ()))
        if self._limit and len(files) > self._limit:
            files = Random(package).sample(files, self._limit)
        if not files:
            return EMPTY
        return Library({path: read(path, text) for path, text in files})
