"""Matches one pattern of `.gitignore` against paths, by an expression that does not go back and back.

The signs have the meaning of git's `wildmatch.c` and `dir.c`. Where something follows a star, the first place at which
it fits is as good as any later one, because the next star takes what is left; so each star but the last is in an atomic
group, and the time does not grow with the number of stars (as in Python's own `fnmatch`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

# Of a pattern; git's own paths end there.
MAX_PATTERN_CHARACTERS = 4_096

ANY = "[^/]"
STAR, DEEP, MANY = "*", "**/", "**"
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
_SIGN = re.compile(r"[*?\[\\]")


@dataclass(frozen=True)
class Wildmatch:
    """A pattern. `tokens`: `STAR`, `DEEP`, `MANY`, and expressions of one character each.

    `take_back`: what it names is not ignored; `folders`: it names folders only; `name`: it is matched against the last
    part of a path alone.
    """

    tokens: tuple[str, ...]
    take_back: bool = False
    folders: bool = False
    name: bool = False

    @classmethod
    def of(cls, line: str) -> Wildmatch | None:
        """A line of a file of patterns; None where it is none, or can match nothing."""
        line = _trimmed(line.removesuffix("\r"))
        if not line or line.startswith("#"):
            return None
        take_back = line.startswith("!")
        line = line[take_back:]
        folders = line.endswith("/")
        line = line[: len(line) - folders]
        name = "/" not in line
        tokens = _tokens(line.removeprefix("/") if not name else line, name)
        if not line or tokens is None:
            return None
        return cls(tokens, take_back, folders, name)

    def __call__(self, path: str) -> bool:
        """Whether it names just this path from its file's folder. Folders end in `/`."""
        if self.folders and not path.endswith("/"):
            return False
        path = path.rstrip("/")
        if self.name:
            path = path[path.rfind("/") + 1 :]
        return self._expression.fullmatch(path) is not None

    @property
    def ending(self) -> str:
        """The characters after the last wildcard."""
        characters = list(takewhile(_is_character, reversed(self.tokens)))
        return "".join(token[-1] for token in reversed(characters))

    @property
    def is_literal(self) -> bool:
        """Whether it has no wildcard: it matches its `ending` alone."""
        return all(map(_is_character, self.tokens))

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        """`DEEP` is nothing, or all up to some slash."""
        (_, first), *others = _sections(self.tokens, (DEEP, MANY))
        parts = [_within_folder(first, last=not others)]
        for number, (wildcard, tokens) in enumerate(others, 1):
            if number == len(others):
                before = "(?:.*/)?" if wildcard == DEEP else ".*"
                parts.append(before + _within_folder(tokens, last=True))
            else:
                before = "(?:[^/]*/)*?" if wildcard == DEEP else ".*?"
                parts.append(f"(?>{before}{_within_folder(tokens, last=False)})")
        return re.compile("".join(parts), re.DOTALL)


def _is_character(token: str) -> bool:
    return token != STAR and len(token.removeprefix("\\")) == 1


def _within_folder(tokens: Sequence[str], last: bool) -> str:
    """The expression of tokens among which are neither `DEEP` nor `MANY`; with the last ones the path has to end."""
    (_, first), *others = _sections(tokens, (STAR,))
    parts = ["".join(first), *(f"(?>[^/]*?{''.join(own)})" for _, own in others)]
    if last and others:
        parts[-1] = f"[^/]*{''.join(others[-1][1])}"
    return "".join(parts)


def _sections(tokens: Iterable[str], wildcards: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The tokens between wildcards, each with the wildcard before them; the first section has none."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for token in tokens:
        if token in wildcards:
            sections.append((token, []))
        else:
            sections[-1][1].append(token)
    return sections


def _trimmed(line: str) -> str:
    """Without spaces at the end, unless a backslash stands before."""
    end, i = 0, 0
    while i < len(line):
        i += 2 if line[i] == "\\" else 1
        if line[min(i, len(line)) - 1] != " " or (i > 1 and line[i - 2 : i - 1] == "\\" and i <= len(line)):
            end = i
    return line[:end]


def _tokens(pattern: str, name: bool) -> tuple[str, ...] | None:
    """The parts of a pattern; None where it can match nothing."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return (MANY,)  # rather too much
    tokens: list[str] = []
    i = 0
    while i < len(pattern):
        character = pattern[i]
        if character == "\\":
            if i + 1 == len(pattern):
                return None
            tokens.append(re.escape(pattern[i + 1]))
            i += 2
        elif character == "?":
            tokens.append(ANY)
            i += 1
        elif character == "[":
            found = read_set(pattern, i)
            if found is None:
                return None
            tokens.append(found[0])
            i = found[1]
        elif character == "*":
            end = i
            while end < len(pattern) and pattern[end] == "*":
                end += 1
            # git compares what stands before the first sign by itself, so that `**` there begins a pattern, too.
            begins = not tokens or pattern[i - 1] == "/" or not _SIGN.search(pattern, 0, i)
            alone = end - i > 1 and not name and begins
            if alone and pattern.startswith("/", end):
                token, end = DEEP, end + 1
            elif alone and end == len(pattern):
                token = MANY
            else:
                token = STAR
            if not tokens or tokens[-1] != token:
                tokens.append(token)
            i = end
        else:
            tokens.append(re.escape(character))
            i += 1
    return tuple(tokens)


def read_set(pattern: str, start: int) -> tuple[str, int] | None:
    """The expression of a set that begins at a bracket, and where it ends; None where it does not end."""
    i = start + 1
    negated = pattern[i : i + 1] in ("!", "^") and pattern[i : i + 1] != ""
    i += negated
    members, before = "", ""
    first = i
    while True:
        character = pattern[i : i + 1]
        if not character:
            return None
        if character == "]" and i > first:
            wanted = f"[{members}]" if members else "(?!)"
            return f"(?!{wanted})[^/]" if negated else f"(?!/){wanted}", i + 1
        if character == "[" and pattern.startswith("[:", i) and (end := pattern.find(":]", i + 2)) >= 0:
            named = pattern[i + 2 : end]
            if named not in _CLASSES:
                return None
            members += _CLASSES[named]
            i, before = end + 2, ""
            continue
        ranged = character == "-" and before and pattern[i + 1 : i + 2] not in ("", "]")
        i += bool(ranged)
        i += pattern.startswith("\\", i)
        if i == len(pattern):
            return None
        if not ranged:
            members += re.escape(pattern[i])
        elif before <= pattern[i]:
            members += f"{re.escape(before)}-{re.escape(pattern[i])}"
        before = "" if ranged else pattern[i]
        i += 1
