"""Applies a project's ignore rules: `.gitignore`, `.git/info/exclude` and `.mercuryignore`.

The rules have git's meaning: a folder's own rules come before those of the folders above it, the last one that fits
wins, and nothing inside an ignored folder is taken back. `.mercuryignore` has the same syntax and is a family of its
own: it leaves out more, and gives nothing back that git ignores. Texts come in; no file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from mercury_lsp.context.wildmatch import Wildmatch

EXCLUDE = ".git/info/exclude"
FAMILIES = ((EXCLUDE, ".gitignore"), (".mercuryignore",))
"""Names from a folder; later ones of a family go before earlier ones."""


MAX_PATTERNS = 10_000
"""Of a file; with more, all is ignored."""
MAX_WILDCARDS = 2_000
"""Patterns with wildcards in all files of rules above a path; with more, all is ignored there."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of one file, each with its number: of several that fit, the last one counts.

    `wildcards`: with their endings, the last one first. `literals`: whether the last pattern of its kind takes back, by
    its text, whether this is a name, and whether it is a folder's: thousands of names take no longer than one.
    """

    wildcards: tuple[tuple[int, str, Wildmatch], ...] = ()
    literals: Mapping[tuple[str, bool, bool], tuple[int, bool]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str, fold: bool = False) -> Rules:
        """Lines that are no patterns are left out, as git does. `fold`: upper and lower case are the same."""
        lines = (text.lower() if fold else text).removeprefix("\ufeff").split("\n")
        found = (pattern for line in lines if (pattern := Wildmatch.of(line)) is not None)
        patterns = list(islice(found, MAX_PATTERNS + 1))
        if len(patterns) > MAX_PATTERNS:
            return cls.of("*")
        wildcards: list[tuple[int, str, Wildmatch]] = []
        literals: dict[tuple[str, bool, bool], tuple[int, bool]] = {}
        for number, pattern in enumerate(patterns):
            if pattern.is_literal:
                literals[pattern.ending, pattern.name, pattern.folders] = number, pattern.take_back
            else:
                wildcards.append((number, pattern.ending, pattern))
        return cls(tuple(reversed(wildcards)), literals)

    def verdict(self, path: str) -> bool | None:
        """Whether a path from their folder is ignored or taken back; None where no rule fits. Folders end in `/`."""
        whole = path.rstrip("/")
        texts = ((whole, False), (whole[whole.rfind("/") + 1 :], True))
        kinds = (False, True) if path.endswith("/") else (False,)
        fitting = [self.literals.get((*text, folders)) for text in texts for folders in kinds]
        last, take_back = max(filter(None, fitting), default=(-1, True))
        for number, ending, pattern in self.wildcards:
            if number < last:
                break
            if whole.endswith(ending) and pattern(path):
                return not pattern.take_back
        return None if last < 0 else not take_back


@dataclass(frozen=True, slots=True)
class Ignored:
    """All rules below a top folder, by the folder's path from there, "" for itself, and the rules file's name."""

    rules: Mapping[str, Mapping[str, Rules]]
    fold: bool = False

    def __call__(self, path: str) -> bool:
        """Whether a path from the top folder, POSIX, is ignored, or lies in a folder that is. Folders end in `/`."""
        count = sum(len(own.wildcards) for files in self.rules.values() for own in files.values())
        if count > MAX_WILDCARDS:
            return True
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
