"""Applies a project's ignore rules: `.gitignore`, `.git/info/exclude` and `.mercuryignore`.

The rules have git's meaning: a folder's own rules come before those of the folders above it, the last one that fits
wins, and nothing inside an ignored folder is taken back. `.mercuryignore` has the same syntax and is a family of its
own: it leaves out more, and gives nothing back that git ignores. Texts come in; no file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mercury_lsp.context.wildmatch import Wildmatch

EXCLUDE = ".git/info/exclude"
FAMILIES = ((EXCLUDE, ".gitignore"), (".mercuryignore",))
"""Names from a folder; later ones of a family go before earlier ones."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of one file. `of` compiles them."""

    patterns: tuple[Wildmatch, ...] = ()  # the last one first

    @classmethod
    def of(cls, text: str, fold: bool = False) -> Rules:
        """Lines that are no patterns are left out, as git does. `fold`: upper and lower case are the same."""
        lines = (text.lower() if fold else text).removeprefix("\ufeff").split("\n")
        patterns = [pattern for line in lines if (pattern := Wildmatch.of(line)) is not None]
        return cls(tuple(reversed(patterns)))

    def verdict(self, path: str) -> bool | None:
        """Whether a path from their folder is ignored or taken back; None where no rule fits. Folders end in `/`."""
        for pattern in self.patterns:
            if pattern(path):
                return not pattern.take_back
        return None


@dataclass(frozen=True, slots=True)
class Ignored:
    """All rules below a top folder, by the folder's path from there, "" for itself, and the rules file's name."""

    rules: Mapping[str, Mapping[str, Rules]]
    fold: bool = False

    def __call__(self, path: str) -> bool:
        """Whether a path from the top folder, POSIX, is ignored, or lies in a folder that is. Folders end in `/`."""
        path = path.lower() if self.fold else path
        steps = _steps(path)
        return any(self._ignores(family, step) for family in FAMILIES for step in steps)

    def _ignores(self, family: Iterable[str], path: str) -> bool:
        """Whether a family's rules name just this path."""
        for folder in _above(path):
            rules = self.rules.get(folder)
            for name in reversed(tuple(family)) if rules else ():
                inner = path[len(folder) + 1 :] if folder else path
                if rules and name in rules and (verdict := rules[name].verdict(inner)) is not None:
                    return verdict
        return False


def _steps(path: str) -> list[str]:
    """The folders of a path, from the top, and itself: `a/b.py` is in `a/`."""
    folders = [path[: slash.end()] for slash in re.finditer("/", path)]
    return folders if path.endswith("/") else [*folders, path]


def _above(path: str) -> Iterator[str]:
    """The folders that a path lies in, the nearest first, without a slash at the end; the last is ""."""
    folder = path.rstrip("/")
    while folder:
        folder = folder.rpartition("/")[0]
        yield folder
