"""Matches one pattern of `.gitignore` against paths, without backtracking in either.

All places in the pattern that the path may have come to are the bits of one number, and each character of the path
moves them on: the time is the length of the path, whatever stars there are (Baeza-Yates and Gonnet 1992). The signs
have the meaning of git's `wildmatch.c` and `dir.c`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

# Of a pattern; git's own paths end there.
MAX_PATTERN_CHARACTERS = 4_096
FEW = 1  # stars with which an expression goes back at most once through a path

ANY, STAR, DEEP, MANY = "any", "star", "deep", "many"
_CLASSES: dict[str, Callable[[str], bool]] = {
    "alnum": str.isalnum,
    "alpha": str.isalpha,
    "blank": lambda c: c in " \t",
    "cntrl": lambda c: ord(c) < 32 or ord(c) == 127,
    "digit": lambda c: c in "0123456789",
    "graph": lambda c: 32 < ord(c) < 127,
    "lower": str.islower,
    "print": lambda c: 32 <= ord(c) < 127,
    "punct": lambda c: 32 < ord(c) < 127 and not c.isalnum(),
    "space": lambda c: c in " \t\n\r\f\v",
    "upper": str.isupper,
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
}


@dataclass(frozen=True, slots=True)
class _Set:
    """A set in brackets."""

    negated: bool
    parts: tuple[str | tuple[str, str], ...]  # characters, names of classes in colons, and ranges

    def holds(self, character: str) -> bool:
        found = any(
            part[0] <= character <= part[1]
            if isinstance(part, tuple)
            else _CLASSES[part[1:-1]](character)
            if len(part) > 1
            else part == character
            for part in self.parts
        )
        return found != self.negated and character != "/"


_SIGN = re.compile(r"[*?\[\\]")
Token = str | _Set  # a literal is `=` and its character


@dataclass(frozen=True)
class Wildmatch:
    """A pattern. `take_back`: what it names is not ignored; `folders`: it names folders only; `name`: it is matched
    against the last part of a path alone."""

    tokens: tuple[Token, ...]
    take_back: bool
    folders: bool
    name: bool

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
        if self._literal is not None:
            return path == self._literal
        if self._expression is not None:
            return self._expression.fullmatch(path) is not None
        return self._walk(path)

    @cached_property
    def _literal(self) -> str | None:
        if all(isinstance(token, str) and token.startswith("=") for token in self.tokens):
            return "".join(str(token)[1:] for token in self.tokens)
        return None

    @cached_property
    def _expression(self) -> re.Pattern[str] | None:
        """The same as an expression, which is quicker; None where it might go back again and again."""
        if any(isinstance(token, _Set) for token in self.tokens):
            return None
        signs = {ANY: "[^/]", STAR: "[^/]*", DEEP: "(?:.*/)?", MANY: ".*"}
        if sum(token in (STAR, DEEP, MANY) for token in self.tokens) > FEW:
            return None
        parts = (signs[str(t)] if t in signs else re.escape(str(t)[1:]) for t in self.tokens)
        return re.compile("".join(parts), re.DOTALL)

    @cached_property
    def _states(self) -> list[tuple[str, Token]]:
        """What each bit waits for. Before `**/` there is a choice: none, or all up to some slash."""
        states: list[tuple[str, Token]] = []
        for token in self.tokens:
            if token == DEEP:
                states += [("enter", token), ("deep", token)]
            else:
                states.append((str(token) if token in (STAR, MANY) else "one", token))
        return states

    def _walk(self, path: str) -> bool:
        skips = sum(1 << i for i, (kind, _) in enumerate(self._states) if kind in (STAR, MANY, "enter"))
        enters = sum(1 << i for i, (kind, _) in enumerate(self._states) if kind == "enter")
        moves: dict[str, tuple[int, int]] = {}

        def free(bits: int) -> int:
            """With all that needs no character."""
            while (more := bits | (bits & skips) << 1 | (bits & enters) << 2) != bits:
                bits = more
            return bits

        bits = free(1)
        for character in path:
            if character not in moves:
                moves[character] = self._moves(character)
            stay, step = moves[character]
            bits = free((bits & stay) | (bits & step) << 1)
            if not bits:
                return False
        return bool(bits >> len(self._states) & 1)

    def _moves(self, character: str) -> tuple[int, int]:
        """The bits that stay at a character, and those that go on."""
        stay = step = 0
        for i, (kind, token) in enumerate(self._states):
            bit = 1 << i
            if kind in ("deep", MANY) or (kind == STAR and character != "/"):
                stay |= bit
            if (kind == "deep" and character == "/") or (kind == "one" and _takes(token, character)):
                step |= bit
        return stay, step


def _takes(token: Token, character: str) -> bool:
    if isinstance(token, _Set):
        return token.holds(character)
    return character != "/" if token == ANY else token == f"={character}"


def _trimmed(line: str) -> str:
    """Without spaces at the end, unless a backslash stands before."""
    end, i = 0, 0
    while i < len(line):
        i += 2 if line[i] == "\\" else 1
        if line[min(i, len(line)) - 1] != " " or (i > 1 and line[i - 2 : i - 1] == "\\" and i <= len(line)):
            end = i
    return line[:end]


def _tokens(pattern: str, name: bool) -> tuple[Token, ...] | None:
    """The parts of a pattern; None where it can match nothing."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return (MANY,)  # rather too much
    tokens: list[Token] = []
    i = 0
    while i < len(pattern):
        character = pattern[i]
        if character == "\\":
            if i + 1 == len(pattern):
                return None
            tokens.append(f"={pattern[i + 1]}")
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
            tokens.append(f"={character}")
            i += 1
    return tuple(tokens)


def read_set(pattern: str, start: int) -> tuple[_Set, int] | None:
    """A set that begins at a bracket, and where it ends; None where it does not end."""
    i = start + 1
    negated = pattern[i : i + 1] in ("!", "^") and pattern[i : i + 1] != ""
    i += negated
    parts: list[str | tuple[str, str]] = []
    first, before = True, ""
    while True:
        character = pattern[i : i + 1]
        if not character:
            return None
        if character == "]" and not first:
            return _Set(negated, tuple(parts)), i + 1
        first = False
        if character == "[" and pattern.startswith("[:", i) and (end := pattern.find(":]", i + 2)) >= 0:
            named = pattern[i + 2 : end]
            if named not in _CLASSES:
                return None
            parts.append(f":{named}:")
            i, before = end + 2, ""
            continue
        if character == "-" and before and pattern[i + 1 : i + 2] not in ("", "]"):
            i += 1
            if pattern[i] == "\\":
                i += 1
            if i == len(pattern):
                return None
            parts.append((before, pattern[i]))
            i, before = i + 1, ""
            continue
        if character == "\\":
            i += 1
            if i == len(pattern):
                return None
        before = pattern[i]
        parts.append(before)
        i += 1
