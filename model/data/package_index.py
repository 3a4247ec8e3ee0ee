"""Builds the libraries of the corpus's packages, as a server in the package's folder would have them.

Owns which files of a package are in its library, and which of them are taken to be open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from random import Random

from mercury_lsp.context.retrieval.index import EMPTY, Library, read

OPENED = 5  # documents open beside the one that is edited


class PackageIndex:
    """The packages' files (package, path and text), read when a library of theirs is first asked for.

    limit: files of a package at most, drawn by chance from its name alone; 0 for all.
    """

    def __init__(self, files: Iterable[tuple[str, str, str]], limit: int = 0) -> None:
        self._files: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for package, path, text in files:
            self._files[package].append((path, text))
        self._limit = limit
        self._whole: dict[str, Library] = {}

    def library(self, package: str, path: str, opened: Random | None = None) -> Library:
        """The library of a package, with files open beside one of them: of its own folder first.

        opened: draws them among those; without, they are the first by name, of at most `OPENED`.
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
