"""Applies a project's ignore rules: `.gitignore`, `.git/info/exclude` and `.mercuryignore`.

The rules have git's meaning: the rules of a folder take precedence over those of the folders above it, the last rule
that matches wins, and files in an ignored folder cannot be included again. `.mercuryignore` has the same syntax and is
evaluated separately: it ignores more files, and cannot include files that git ignores. This module reads no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from mercury_lsp.context.wildmatch import Wildmatch

EXCLUDE_FILE = ".git/info/exclude"
RULE_FAMILIES = ((EXCLUDE_FILE, ".gitignore"), (".mercuryignore",))
"""Names of rules files in a folder, by family; in a family, later names take precedence."""


MAX_PATTERNS = 10_000
"""A file with more patterns ignores everything."""
MAX_WILDCARDS = 2_000
"""If all rules files above a path have more patterns with wildcards, everything there is ignored."""
MAX_PROJECT_WILDCARDS = 20_000
"""After so many different patterns with wildcards in a project, each further rules file ignores everything.

To compile one takes about 0.15 ms of CPU time."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of one file, each with its number: of several that match, the last one decides.

    `wildcards`: number, literal ending and pattern, the last one first. `literals`: the number of the last pattern
    without wildcards, and whether it includes files again, by its text, whether it matches a name only, and whether it
    matches folders only. So thousands of literal names take no longer than one.
    """

    wildcards: tuple[tuple[int, str, Wildmatch], ...] = ()
    literals: Mapping[tuple[str, bool, bool], tuple[int, bool]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str, fold: bool = False, known: dict[str, Wildmatch] | None = None) -> Rules:
        """Parse the text of a rules file. Lines that are no patterns are skipped, as in git. `fold`: ignore case.

        `known`: the project's patterns with wildcards so far, by their lines. They are parsed and compiled only once.
        """
        known = {} if known is None else known
        if len(known) >= MAX_PROJECT_WILDCARDS:
            return cls.of("*")
        lines = (text.lower() if fold else text).removeprefix("\ufeff").split("\n")
        parsed = ((line, known.get(line) or Wildmatch.of(line)) for line in lines)
        found = ((line, pattern) for line, pattern in parsed if pattern is not None)
        patterns = list(islice(found, MAX_PATTERNS + 1))
        if len(patterns) > MAX_PATTERNS:
            return cls.of("*")
        wildcards: list[tuple[int, str, Wildmatch]] = []
        literals: dict[tuple[str, bool, bool], tuple[int, bool]] = {}
        for number, (line, pattern) in enumerate(patterns):
            if pattern.is_literal:
                literals[pattern.literal_suffix, pattern.name_only, pattern.folders_only] = (
                    number,
                    pattern.negated,
                )
            else:
                known[line] = pattern
                wildcards.append((number, pattern.literal_suffix, pattern))
        return cls(tuple(reversed(wildcards)), literals)

    def verdict(self, path: str) -> bool | None:
        """Return True if a path is ignored, False if it is included again, None if no rule matches.

        `path` is relative to the folder of the rules; folders end in `/`.
        """
        whole = path.rstrip("/")
        texts = ((whole, False), (whole[whole.rfind("/") + 1 :], True))
        kinds = (False, True) if path.endswith("/") else (False,)
        fitting = [self.literals.get((*text, folders)) for text in texts for folders in kinds]
        last, negated = max(filter(None, fitting), default=(-1, True))
        for number, ending, pattern in self.wildcards:
            if number < last:
                break
            if whole.endswith(ending) and pattern(path):
                return not pattern.negated
        return None if last < 0 else not negated


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """All rules in a top folder, by the path of their folder, relative to it and "" for itself, and by file name."""

    rules: Mapping[str, Mapping[str, Rules]]
    fold: bool = False

    def __post_init__(self) -> None:
        count = sum(len(rules.wildcards) for files in self.rules.values() for rules in files.values())
        if count > MAX_WILDCARDS:
            object.__setattr__(self, "rules", {"": {".gitignore": Rules.of("*")}})

    def __call__(self, path: str) -> bool:
        """Return whether a path or a folder of it is ignored.

        `path` is relative to the top folder and POSIX; folders end in `/`.
        """
        path = path.lower() if self.fold else path
        steps = _steps(path)
        return any(self._ignores(family, step) for family in RULE_FAMILIES for step in steps)

    def _ignores(self, family: Iterable[str], path: str) -> bool:
        """Return whether the rules of a family ignore exactly this path."""
        for folder in _above(path):
            rules = self.rules.get(folder)
            for name in reversed(tuple(family)) if rules else ():
                inner = path[len(folder) + 1 :] if folder else path
                if rules and name in rules and (verdict := rules[name].verdict(inner)) is not None:
                    return verdict
        return False


def _steps(path: str) -> list[str]:
    """Return the folders of a path from the top, and the path itself: `a/` and `a/b.py` for `a/b.py`."""
    folders = [path[: slash.end()] for slash in re.finditer("/", path)]
    return folders if path.endswith("/") else [*folders, path]


def _above(path: str) -> Iterator[str]:
    """Yield the folders of a path, the nearest first, without a slash at the end; the last one is ""."""
    folder = path.rstrip("/")
    while folder:
        folder = folder.rpartition("/")[0]
        yield folder
