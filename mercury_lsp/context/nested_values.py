"""Finds the texts in values of several parts: lists, tuples, mappings, blocks of YAML and sections of TOML.

A value is only cut into strings and brackets, because it may be of any language, and incomplete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_VALUE_CHARACTERS = 20_000

# Calls whose arguments are the parts of a collection.
_CONSTRUCTORS = r"(?:list|set|tuple|dict|frozenset|array|vector|\w*(?:[Oo]f|asList|Map|Set|List|freeze|from))"
_TOKEN = re.compile(
    r"(?P<quote>[\"'`])(?P<string>(?:\\[^\n]|(?!(?P=quote))[^\\\n])*+)(?P=quote)"
    r"|(?P<function>\)[ \t]*(?:(?:=>|->|:)[^\n{}\"']{0,40})?\{)"
    rf"|(?P<open>\{{|(?:(?<![\w\])}}>])|\b{_CONSTRUCTORS})\(|(?<![\w\])])\[)"
    r"|(?P<other>[(\[])|(?P<close>[)\]}])|(?P<end>[,;\n])|\\.|\w+"
)
_BEFORE_VALUE = re.compile(r"[ \t]*+(?:\\?\r?\n[ \t]*+)?")
_BLOCK_VALUE = r"(?P<quote>[\"']?)(?P<part>[^\s\"']++)(?P=quote)[ \t]*+(?:\#.*)?\r?$"
# `- part`, `name: part` and `- name: part`; `name = part`.
_YAML_LINE = re.compile(
    rf"[ \t]*+(?:-[ \t]++(?:[\"']?[\w.-]++[\"']?:[ \t]++)?|[\"']?[\w.-]++[\"']?:[ \t]++){_BLOCK_VALUE}"
)
_TOML_LINE = re.compile(rf"[ \t]*+[\"']?[\w.-]++[\"']?[ \t]*+=[ \t]*+{_BLOCK_VALUE}")
_SECTION = re.compile(r"[ \t]*+\[\[?[\w.\"'-]++\]\]?[ \t]*+")
_BLANK_REST = re.compile(r"[ \t\r]*+\n[ \t]*+(?P<next>[^\n]?)")


class Part(NamedTuple):
    """The start and end of one text in a value. If it is not `quoted`, it may be code."""

    start: int
    end: int
    quoted: bool


def find_parts(text: str, starts: Iterable[int]) -> Iterator[Part]:
    """Yield the parts of the values that begin at some places, after `=`, `:` or the like; each part once.

    A value directly after a name is no part. The time is linear in the text's length.
    """
    end = 0
    for start in sorted(starts):
        # A value within another one has been searched with it.
        if start >= end:
            find = _block if _begins_block(text, start) else _bracketed
            found, end = find(text, start)
            yield from found


def _begins_block(text: str, start: int) -> bool:
    """Return whether the value is a block: lines of YAML after a colon, or of TOML after a section's name."""
    rest = _BLANK_REST.match(text, start)
    if rest is None:
        return False
    if text[start - 1] == ":":
        return rest["next"] not in tuple("[{(\"'`")
    return _SECTION.fullmatch(text, text.rfind("\n", 0, start) + 1, start) is not None


def _bracketed(text: str, start: int) -> tuple[list[Part], int]:
    """Return the strings in the brackets of a value, except arguments of calls and indices, and the value's end."""
    before = _BEFORE_VALUE.match(text, start)
    start = before.end() if before else start
    # For each open bracket, whether the strings in it are parts.
    brackets: list[bool] = []
    found: list[Part] = []
    limit = start + MAX_VALUE_CHARACTERS
    for token in _TOKEN.finditer(text, start, limit):
        kind = token.lastgroup
        if kind == "string":
            if brackets and brackets[-1]:
                found.append(Part(*token.span("string"), True))
        elif kind in ("open", "other"):
            brackets.append(kind == "open" or token.start() == start)
        elif kind == "function" or (not brackets and kind is not None):
            return found, token.start()
        elif kind == "close":
            brackets.pop()
    return found, min(limit, len(text))


def _block(text: str, start: int) -> tuple[list[Part], int]:
    """Return the values in the lines of a block, and its end."""
    found: list[Part] = []
    section = text[start - 1] != ":"
    line_start = text.rfind("\n", 0, start) + 1
    outer = _indentation(text, line_start)
    limit = min(start + MAX_VALUE_CHARACTERS, len(text))
    at = _line_end(text, start) + 1
    while at < limit:
        end = _line_end(text, at)
        line = text[at:end]
        content = line.strip()
        if section:
            inside = not content.startswith("[")
        else:
            inside = _indentation(text, at) > outer or (
                content.startswith("-") and text[line_start + outer] != "-"
            )
        if content and not inside:
            break
        if match := (_TOML_LINE if section else _YAML_LINE).match(line):
            found.append(Part(at + match.start("part"), at + match.end("part"), bool(match["quote"])))
        at = end + 1
    return found, min(at, len(text))


def _indentation(text: str, line_start: int) -> int:
    at = line_start
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return at - line_start


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
