"""Cuts a text before an element of a bracketed list, or a table of TOML, that the list already has.

Only whole elements are compared, because most objects of a list have the same keys, and many the same values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mercury_lsp.completion.fitting.insertion import PAIRS, InsertionPoint

# The numbers of characters before and after the cursor that are searched.
BEFORE_CHARACTERS, AFTER_CHARACTERS = 20_000, 4_000

_SIGN = re.compile(r"[\[\](){},]")
_TOKEN = re.compile(r""""(?:[^"\\\n]|\\[^\n])*+"?|(?<!\w)'(?:[^'\\\n]|\\[^\n])*+'?|[\[\](){},]""")
_OBJECT_WITH_LETTER = re.compile(r"\{.*[^\W\d_]", re.DOTALL)
_HEADER = re.compile(r"\s*\[\[[^\[\]\n]+\]\]\s*(#.*)?")
_ANY_HEADER = re.compile(r"\s*\[")


@dataclass(slots=True)
class _OpenBracket:
    """An open bracket. `begin`: the start of the current element; `elements`: start and end of those before it."""

    bracket: str
    begin: int
    elements: list[tuple[int, int]] = field(default_factory=list)


def without_equal_elements(text: str, point: InsertionPoint) -> str:
    """Return a text up to the first object, or table of TOML, that equals another one of the same list."""
    if point.in_text or not text.strip():
        return text
    document = point.syntax.document
    if document.path.endswith(".toml") or document.language_id == "toml":
        text = _without_equal_tables(text, point)
    low = max(0, point.offset - BEFORE_CHARACTERS)
    code = point.syntax.code(low, point.offset)
    stack = _open_brackets(code)
    around = [i for i in (len(stack) - 1, len(stack) - 2) if i >= 0 and stack[i].bracket == "["]
    if not around:
        return text
    before = document.text[low : point.offset]
    behind = document.text[point.offset : point.offset + AFTER_CHARACTERS]
    whole = before + text + behind
    at = stack[around[0]]
    elements = _elements_after(whole, len(before), stack, around[0])
    cursor, last = len(before), len(before) + len(text)
    others = {
        _normalize(whole, span) for span in [*at.elements, *elements] if span[1] <= cursor or span[0] >= last
    }
    for start, end in elements:
        if start >= last:
            break
        normalized = _normalize(whole, (start, end))
        if end > cursor and normalized in others and _OBJECT_WITH_LETTER.search(normalized):
            return whole[cursor : max(cursor, start - 1)]
        others.add(normalized)
    return text


def _open_brackets(code: str) -> list[_OpenBracket]:
    """Return the brackets that are open at the end of a result of `Syntax.code`."""
    stack: list[_OpenBracket] = []
    for match in _SIGN.finditer(code):
        sign = match.group()
        if sign in PAIRS:
            stack.append(_OpenBracket(sign, match.end()))
        elif sign == "," and stack:
            stack[-1].elements.append((stack[-1].begin, match.start()))
            stack[-1].begin = match.end()
        elif stack and PAIRS[stack[-1].bracket] == sign:
            stack.pop()
    return stack


def _elements_after(whole: str, start: int, stack: list[_OpenBracket], number: int) -> list[tuple[int, int]]:
    """Return start and end of the elements in an open bracket that end after `start`, up to its closing bracket."""
    depth, begin = len(stack) - 1 - number, stack[number].begin
    found = []
    for match in _TOKEN.finditer(whole, start):
        sign = match.group()
        depth += (sign in PAIRS) - (sign in PAIRS.values())
        if depth < 0 or (depth == 0 and sign == ","):
            found.append((begin, match.start()))
            begin = match.end()
        if depth < 0:
            break
    return found


def _normalize(whole: str, span: tuple[int, int]) -> str:
    return re.sub(r"\s+", "", whole[slice(*span)]).replace('"', "'").replace(",}", "}")


def _without_equal_tables(text: str, point: InsertionPoint) -> str:
    """Cut before a `[[table]]` that, together with the lines after the cursor, equals another one of the same name."""
    document = point.syntax.document
    low = max(0, point.offset - BEFORE_CHARACTERS)
    before, behind = (
        document.text[low : point.offset],
        document.text[point.offset : point.offset + AFTER_CHARACTERS],
    )
    lines = f"{before}{text}{behind}".splitlines()
    first, last = before.count("\n"), before.count("\n") + text.count("\n")
    seen: set[tuple[str, ...]] = set()
    for begin, end, normalized in sorted(
        _tables(lines), key=lambda table: first < table[1] and table[0] <= last
    ):
        written = first < end and begin <= last
        if written and normalized in seen and len(normalized) > 1:
            return "\n".join(text.split("\n")[: max(0, begin - first)])
        seen.add(normalized)
    return text


def _tables(lines: list[str]) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Yield the first line of each `[[table]]`, the line after its last one, and its lines without whitespace."""
    begin = None
    for number, line in enumerate([*lines, "["]):
        if _ANY_HEADER.match(line):
            if begin is not None:
                normalized = (re.sub(r"\s+", "", part) for part in lines[begin:number])
                yield begin, number, tuple(part for part in normalized if part)
            begin = number if _HEADER.fullmatch(line) else None
