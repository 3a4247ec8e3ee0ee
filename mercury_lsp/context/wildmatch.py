"""Matches one pattern of `.gitignore` against paths, by a regular expression with bounded backtracking.

The syntax is that of git's `wildmatch.c` and `dir.c`. For the part after a star, the first place that matches is as
good as any later one, because the next star takes the rest. So each star except the last is in an atomic group, as in
Python's `fnmatch`, and the time does not grow with the number of stars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

# The length limit of a pattern, as of git's paths.
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
    """A pattern. `tokens`: `STAR`, `DEEP`, `MANY`, and regular expressions of one character each.

    `negated`: the pattern includes files again (`!`). `folders_only`: it matches folders only. `name_only`: it is
    matched against the last part of a path only.
    """

    tokens: tuple[str, ...]
    negated: bool = False
    folders_only: bool = False
    name_only: bool = False

    @classmethod
    def of(cls, line: str) -> Wildmatch | None:
        """Parse a line of a rules file; return None if it is no pattern, or can match nothing."""
        line = _trim(line.removesuffix("\r"))
        if not line or line.startswith("#"):
            return None
        negated = line.startswith("!")
        line = line[negated:]
        folders_only = line.endswith("/")
        line = line[: len(line) - folders_only]
        name_only = "/" not in line
        tokens = _tokenize(line.removeprefix("/") if not name_only else line, name_only)
        if not line or tokens is None:
            return None
        return cls(tokens, negated, folders_only, name_only)

    def __call__(self, path: str) -> bool:
        """Return whether a path, relative to the rules file's folder, matches. Folders end in `/`."""
        if self.folders_only and not path.endswith("/"):
            return False
        path = path.rstrip("/")
        if self.name_only:
            path = path[path.rfind("/") + 1 :]
        return self._expression.fullmatch(path) is not None

    @cached_property
    def literal_suffix(self) -> str:
        """The literal characters after the last wildcard."""
        characters = list(takewhile(_is_character, reversed(self.tokens)))
        return "".join(token[-1] for token in reversed(characters))

    @cached_property
    def is_literal(self) -> bool:
        """Whether the pattern has no wildcard, so that it matches only its `literal_suffix`."""
        return all(map(_is_character, self.tokens))

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        """The regular expression, in which `DEEP` matches nothing, or everything up to a slash."""
        (_, first), *others = _split_at(self.tokens, (DEEP, MANY))
        parts = [_folder_expression(first, last=not others)]
        for number, (wildcard, tokens) in enumerate(others, 1):
            if number == len(others):
                before = "(?:.*/)?" if wildcard == DEEP else ".*"
                parts.append(before + _folder_expression(tokens, last=True))
            else:
                before = "(?:[^/]*/)*?" if wildcard == DEEP else ".*?"
                parts.append(f"(?>{before}{_folder_expression(tokens, last=False)})")
        return re.compile("".join(parts), re.DOTALL)


def _is_character(token: str) -> bool:
    return token != STAR and len(token.removeprefix("\\")) == 1


def _folder_expression(tokens: Sequence[str], last: bool) -> str:
    """Return the expression of tokens without `DEEP` and `MANY`; the `last` ones must match up to the path's end."""
    (_, first), *others = _split_at(tokens, (STAR,))
    parts = ["".join(first), *(f"(?>[^/]*?{''.join(own)})" for _, own in others)]
    if last and others:
        parts[-1] = f"[^/]*{''.join(others[-1][1])}"
    return "".join(parts)


def _split_at(tokens: Iterable[str], wildcards: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the tokens between wildcards, with the wildcard before them; "" before the first section."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for token in tokens:
        if token in wildcards:
            sections.append((token, []))
        else:
            sections[-1][1].append(token)
    return sections


def _trim(line: str) -> str:
    """Strip spaces from the end of a line, except escaped ones."""
    end, i = 0, 0
    while i < len(line):
        i += 2 if line[i] == "\\" else 1
        if line[min(i, len(line)) - 1] != " " or (i > 1 and line[i - 2 : i - 1] == "\\" and i <= len(line)):
            end = i
    return line[:end]


def _tokenize(pattern: str, name_only: bool) -> tuple[str, ...] | None:
    """Return the tokens of a pattern; None if it can match nothing."""
    # Too long a pattern rather ignores too much.
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return (MANY,)
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
            found = parse_set(pattern, i)
            if found is None:
                return None
            tokens.append(found[0])
            i = found[1]
        elif character == "*":
            end = i
            while end < len(pattern) and pattern[end] == "*":
                end += 1
            # git compares the literal start of a pattern separately, so a `**` directly after it begins a pattern, too.
            begins = not tokens or pattern[i - 1] == "/" or not _SIGN.search(pattern, 0, i)
            alone = end - i > 1 and not name_only and begins
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


def parse_set(pattern: str, start: int) -> tuple[str, int] | None:
    """Return the expression of the set that begins with the bracket at `start`, and its end; None if it is invalid."""
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
