"""Reads the indentation of a file from `.editorconfig` files, in bounded time.

The rules are those of editorconfig.org, but only the properties of indentation are read. Common libraries translate
the patterns into regular expressions that backtrack: a section name with 14 stars takes them seconds. Here braces are
expanded and each alternative is a `Wildmatch`, whose time does not grow with the number of stars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from mercury_lsp.context.wildmatch import ANY, DEEP, MANY, STAR, Wildmatch, parse_set
from mercury_lsp.syntax.indentation import MAX_STEP_COLUMNS, Indentation

NAME = ".editorconfig"
# The length limit of a section's name in the standard.
MAX_SECTION_CHARACTERS = 1_024
# A longer set in brackets is read as literal characters.
MAX_SET_CHARACTERS = 64
# A section whose braces expand to more alternatives matches no file.
ALTERNATIVES = 128
# The budget of characters for the expansion of all braces in a file; sections after it are left out.
PATTERNS = 32_768
# A longer path matches no section.
MAX_PATH_CHARACTERS = 1_024

_SECTION = re.compile(r"\[(.*)\]")
_NUMBERS = re.compile(r"([+-]?\d{1,9})\.\.([+-]?\d{1,9})")
_KEYS = frozenset(["indent_style", "indent_size", "tab_width"])


@dataclass(frozen=True, slots=True)
class Section:
    """A section: its `properties`, in lower case, apply to files that match any of its `patterns`."""

    patterns: tuple[Wildmatch, ...]
    properties: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class EditorConfig:
    """One `.editorconfig` file. `root`: files in the folders above are not read."""

    root: bool = False
    sections: tuple[Section, ...] = ()

    @classmethod
    def of(cls, text: str) -> EditorConfig:
        """Parse the text of a file. Invalid lines are skipped."""
        root, name = False, ""
        found: list[tuple[str, dict[str, str]]] = []
        for line in map(str.strip, text.removeprefix("\ufeff").splitlines()):
            if not line or line[0] in "#;":
                continue
            if section := _SECTION.fullmatch(line):
                name = section[1]
                found.append((name, {}))
                continue
            key, equals, value = (part.strip().lower() for part in line.partition("="))
            if not found:
                root = value == "true" if key == "root" and equals else root
            elif key in _KEYS and equals:
                found[-1][1][key] = value
        return cls(root, tuple(_sections(found)))

    def properties(self, path: str) -> dict[str, str]:
        """Return the properties of a file by its path from this folder; later sections take precedence."""
        found: dict[str, str] = {}
        for section in self.sections if len(path) <= MAX_PATH_CHARACTERS else ():
            if any(pattern(path) for pattern in section.patterns):
                found |= section.properties
        return found


def indentation(properties: Iterable[dict[str, str]]) -> Indentation:
    """Return the indentation from the properties of several `.editorconfig` files, the nearest file first."""
    merged: dict[str, str] = {}
    for further in properties:
        merged = further | merged
    style, size = merged.get("indent_style"), merged.get("indent_size", "")
    tabs = {"tab": True, "space": False}.get(style or "")
    width = _width(merged.get("tab_width", "")) if size == "tab" else _width(size)
    return Indentation(tabs, width)


def _width(value: str) -> int | None:
    return int(value) if re.fullmatch("[1-9]", value) and int(value) <= MAX_STEP_COLUMNS else None


def _sections(found: Iterable[tuple[str, dict[str, str]]]) -> Iterator[Section]:
    left = PATTERNS
    for name, properties in found:
        if not properties or not 0 < len(name) <= MAX_SECTION_CHARACTERS:
            continue
        globs, used = _expand(name, left)
        left -= used
        if left < 0:
            return
        yield Section(tuple(map(_pattern, globs)), tuple(properties.items()))


def _expand(name: str, most: int) -> tuple[list[str], int]:
    """Expand the braces of a section's name; return the patterns, and the number of characters processed.

    There are no patterns if they would be more than `ALTERNATIVES`. The expansion stops after `most` characters.
    """
    done, todo, used = list[str](), [name], 0
    while todo and used <= most:
        glob = todo.pop()
        used += len(glob) + 1
        inner = _first_braces(glob)
        if inner is None:
            done.append(glob)
            continue
        start, end, parts = inner
        if len(done) + len(todo) + len(parts) > ALTERNATIVES:
            return [], used
        todo += [glob[:start] + part + glob[end:] for part in reversed(parts)]
    return done, used


def _first_braces(glob: str) -> tuple[int, int, list[str]] | None:
    """Return start, end and choices of the first braces that have choices; None without any.

    Braces without a comma, a range of numbers or a partner are literal characters.
    """
    # The offset of each open brace, and of the commas in it.
    stack: list[tuple[int, list[int]]] = []
    first: tuple[int, int, list[str]] | None = None
    i = 0
    while i < len(glob):
        character = glob[i]
        if character == "\\":
            i += 1
        elif character == "{":
            stack.append((i, []))
        elif character == "," and stack:
            stack[-1][1].append(i)
        elif character == "}" and stack:
            start, commas = stack.pop()
            parts = _alternatives_in(glob, start, i, commas)
            if parts is not None and (first is None or start < first[0]):
                first = (start, i + 1, parts)
        i += 1
    return first


def _alternatives_in(glob: str, start: int, end: int, commas: list[int]) -> list[str] | None:
    if commas:
        bounds = [start, *commas, end]
        return [glob[a + 1 : b] for a, b in pairwise(bounds)]
    if numbers := _NUMBERS.fullmatch(glob, start + 1, end):
        low, high = sorted(map(int, numbers.groups()))
        return [str(number) for number in range(low, min(high, low + ALTERNATIVES) + 1)]
    return None


def _pattern(glob: str) -> Wildmatch:
    """Compile a pattern without choices. A pattern without a slash applies in all folders below."""
    anywhere = "/" not in glob
    tokens = tuple(_tokens(glob.removeprefix("/")))
    # `**` also matches slashes, so the pattern applies to the whole path.
    if anywhere and MANY in tokens:
        return Wildmatch((DEEP, *tokens))
    return Wildmatch(tokens, name_only=anywhere)


def _tokens(glob: str) -> Iterator[str]:
    i = 0
    while i < len(glob):
        character, after = glob[i], i + 1
        if character == "\\" and after < len(glob):
            yield re.escape(glob[after])
            after += 1
        elif character == "?":
            yield ANY
        elif glob.startswith("**", i):
            after = i + 2
            if glob.startswith("/", after) and glob[i - 1 : i] in ("", "/"):
                yield DEEP
                after += 1
            else:
                yield MANY
        elif character == "*":
            yield STAR
        elif (
            character == "["
            and "]" in (within := glob[i : i + MAX_SET_CHARACTERS])
            and (found := parse_set(within, 0))
            and "/" not in glob[i : i + found[1]]
        ):
            yield found[0]
            after = i + found[1]
        else:
            yield re.escape(character)
        i = after
