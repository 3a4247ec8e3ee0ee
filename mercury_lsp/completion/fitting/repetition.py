"""Cuts repetitions of a text: of itself, of the lines around it, and of the line into which it is inserted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from mercury_lsp.completion.fitting.elements import without_equal_elements
from mercury_lsp.completion.fitting.insertion import PAIRS, InsertionPoint
from mercury_lsp.syntax.indentation import width

# The number of lines below the cursor that must not be repeated.
FOLLOWING_LINES = 12
MAX_LOOP_LINES = 4
# The lines of a list that are searched before and after the cursor, and the equal ones whose brackets are compared.
LIST_LINES = 400
MAX_COMPARED_LINES = 16
# The least lengths of a repetition of the text before the cursor, in characters; the last one is for a single word.
MIN_REPEATED_IN_CODE = 10
MIN_REPEATED_IN_TEXT = 5
MIN_REPEATED_WITH_WORD = 9

# The characters before the cursor in which a run may begin.
MAX_RUN_LEFT_CHARACTERS = 200

_STUTTER = re.compile(r"([A-Za-z]\w{0,40}\W[^\n]{1,20}?)\1{4,}|(\S{3,20}?)\2{5,}")
# More than 40 times one letter or digit, such as zeros without end; hashes and hexadecimal numbers may have them.
_RUN = re.compile(r"(?<![\w\"'`])(?!0[xX])\w*?(([^\W_])\2{40,})")
_MARKER = re.compile(r"\s*(?:[-*+]|\d{1,4}[.)])\s+(?=\S)")
_BULLETS = frozenset(["-", "*", "+", "#", ">", "//", "--", "///", ";;"])
# An element of a list on its own line, with two words or a quoted one.
_ELEMENT = re.compile(r".*(\w\W+\w|[\"'`]\w).*,")
_ENTRY = re.compile(r"\s*<(li|option|dt|dd)\b.*\w")
_LETTERS = re.compile(r"(?<!\w)[^\W\d_]{2}")
_LAST_WORD = re.compile(r"(?<!\w)[^\W\d]\w{2,40}\Z")
_FIRST_WORD = re.compile(r"\w{1,80}")
# The header of a section in a configuration file.
_SECTION = re.compile(r"\s*\[[^\[\]]*\]\s*")
_WORD = re.compile(r"\w{2}")
_TWO_WORDS = re.compile(r"\w\W+\w")


def without_loops(text: str, left: str) -> str:
    """Cut after the first occurrence of lines that occur three times in a row, or of a part of a line five times.

    A part without blanks, such as ``[0-9]``, must occur six times. Each part must have a word character and another.
    Also cut before a letter or digit that occurs more than 40 times in a row.
    """
    text = _without_runs(text, left[-MAX_RUN_LEFT_CHARACTERS:])
    for stutter in _STUTTER.finditer(text):
        piece = stutter[1] or stutter[2]
        if re.search(r"\w", piece) and re.search(r"\W", piece):
            text = text[: stutter.start() + len(piece)]
            break
    lines = text.split("\n")
    whole = [left + lines[0], *lines[1:]]
    for i in range(len(lines)):
        for period in range(1, MAX_LOOP_LINES + 1):
            first, second, third = (whole[i + n * period : i + (n + 1) * period] for n in range(3))
            if first == second == third and any(line.strip() for line in first):
                return "\n".join(lines[: i + period])
    return text


def _without_runs(text: str, left: str) -> str:
    starts = [run.start(1) for run in _RUN.finditer(left + text) if run.end(1) > len(left)]
    return text[: max(0, starts[0] - len(left))] if starts else text


def _are_equivalent(one: str, other: str, indented: bool) -> bool:
    """Return whether two lines are equal except for blanks, the kind of quotes, and `;` or `,` at the end."""
    return not (indented and width(one) != width(other)) and _normalize(one) == _normalize(other)


def _normalize(line: str) -> str:
    return re.sub(r"\s+", "", line).replace('"', "'").rstrip(";,")


def without_repeated_following(text: str, point: InsertionPoint, rest: str) -> str:
    """Cut before lines that repeat the lines after the cursor's line; `rest` is what remains of the cursor's line.

    Merely similar lines are kept: one in forty real lines differs from the next one by at most a tenth.
    """
    document = point.syntax.document
    last = min(point.line + 1 + 2 * FOLLOWING_LINES, document.line_count)
    below = map(document.line, range(point.line + 1, last))
    following = [line for line in below if line.strip()][:FOLLOWING_LINES]
    lines = text.split("\n")
    whole = [point.left + lines[0], *lines[1:]]
    whole[-1] += rest
    for i, line in enumerate(whole):
        pairs = list(zip(filter(str.strip, whole[i:]), following, strict=False))
        alike = all(_are_equivalent(one, other, indented=i + n > 0) for n, (one, other) in enumerate(pairs))
        if line.strip() and alike and any(re.search(r"\w", one) for one, _ in pairs):
            return "\n".join(lines[:i])
    return text


def repeats_lines_above(text: str, point: InsertionPoint) -> bool:
    """Return whether the lines with the text repeat the lines directly above."""
    lines = [line.strip() for line in (point.left + text + point.rest).split("\n") if line.strip()]
    document = point.syntax.document
    above = (document.line(i).strip() for i in range(point.line - 1, max(-1, point.line - 60), -1))
    last = [line for line in above if line][: len(lines)]
    return last[::-1] == lines and _TWO_WORDS.search(" ".join(lines)) is not None


def without_repeated_left(text: str, point: InsertionPoint) -> str:
    """Cut the start of a text that repeats the text left of the cursor: its line, several words, or the begun word."""
    left, bare = point.left.rstrip(), text.lstrip(" \t")
    whole = left.lstrip()
    if whole in _BULLETS and bare.startswith(f"{whole} "):
        return bare[len(whole) :]
    # More of a line without a letter, such as hyphens, is no repetition.
    if len(whole) > 1 and bare.startswith(whole) and re.search(r"[^\W\d_]", whole):
        return bare[len(whole) :]
    least = MIN_REPEATED_IN_TEXT if point.is_prose else MIN_REPEATED_IN_CODE
    first = bare.partition("\n")[0]
    for size in range(min(len(first), len(left), LIST_LINES), least - 1, -1):
        same = first[:size]
        if left.endswith(same) and (
            _TWO_WORDS.search(same) or (size >= MIN_REPEATED_WITH_WORD and _WORD.search(same))
        ):
            return bare[size:]
    begun, again = _LAST_WORD.search(point.left), _FIRST_WORD.match(text)
    if begun is None or again is None or again.group() == begun.group():
        return text
    twice = again.group().startswith(begun.group())
    one_word = begun.group() + again.group() in point.syntax.document.text
    return text[len(begun.group()) :] if twice and not one_word else text


def without_repeated_items(text: str, point: InsertionPoint) -> str:
    """Cut before a repetition in the same list: of an item, an element, or a line of text or data."""
    text = without_equal_elements(text, point)
    lines = text.split("\n")
    whole = [point.left + lines[0], *lines[1:]]
    whole[-1] += point.rest
    first = next((i for i, line in enumerate(whole) if line.strip()), len(whole))
    if first == len(whole):
        return text
    find_repeated = _find_repeated_item if _MARKER.match(whole[first]) else _find_repeated_line
    repeated = find_repeated(whole, first, point)
    return text if repeated is None else "\n".join(lines[:repeated])


def _find_repeated_item(whole: list[str], first: int, point: InsertionPoint) -> int | None:
    """Return the first line of the first repeated item; an item is a line and the lines indented below it."""
    column = width(whole[first])
    above = [*_nearby(point, -1, column)][::-1]
    others = [*_items(above, column), *_items(_nearby(point, 1, column), column)]
    known = {_normalize(" ".join(item)) for _, item in others}
    for at, item in _items(whole[first:], column):
        normalized = _normalize(" ".join(item))
        if normalized in known and re.search(r"\w", normalized):
            return first + at
        known.add(normalized)
    return None


def _items(lines: Iterable[str], column: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the items of a list whose markers are in a column: the index of the first line, and the lines unmarked."""
    at, item = 0, list[str]()
    for i, line in enumerate(lines):
        marker = _MARKER.match(line)
        if marker and width(line) == column:
            if item:
                yield at, item
            at, item = i, [line[marker.end() :]]
        elif item and width(line) > column:
            item.append(line.strip())
        elif line.strip():
            break
    if item:
        yield at, item


def _nearby(point: InsertionPoint, step: int, column: int) -> Iterator[str]:
    """Yield the lines of the list with markers in a column, from the cursor's line upwards or downwards by `step`."""
    document = point.syntax.document
    last = max(-1, min(document.line_count, point.line + step * (LIST_LINES + 1)))
    blank = False
    for number in range(point.line + step, last, step):
        line = document.line(number)
        if line.strip():
            if width(line) < column or (width(line) == column and not _MARKER.match(line)):
                return
        elif blank:
            return
        blank = not line.strip()
        yield line


def _find_repeated_line(whole: list[str], first: int, point: InsertionPoint) -> int | None:
    """Return the first line that repeats another one of the unbroken run of list lines around the cursor."""
    kind = partial(_is_list_line, of_code=point.syntax.brackets != "")
    known = dict[str, list[int]]()
    for step in (-1, 1):
        document = point.syntax.document
        last = max(-1, min(document.line_count, point.line + step * (LIST_LINES + 1)))
        for number in range(point.line + step, last, step):
            line = document.line(number)
            if not kind(line) or width(line) != width(whole[first]) or _SECTION.fullmatch(line):
                break
            known.setdefault(_normalize(line), []).append(number)
    own, compared = set[str](), 0
    for i, line in enumerate(whole[first:], first):
        normalized = _normalize(line)
        if not kind(line) and not (kind(line + ",") and (normalized in known or normalized in own)):
            break
        equal_lines = known.get(normalized, [])[: MAX_COMPARED_LINES - compared]
        compared += len(equal_lines)
        if normalized in own or any(_in_one_list(point, number) for number in equal_lines):
            return i
        if _is_unbalanced(line) or _SECTION.fullmatch(line):
            break
        own.add(normalized)
    return None


def _in_one_list(point: InsertionPoint, number: int) -> bool:
    """Return whether a line is in the same brackets as the cursor's line: each object of a list has the same keys."""
    low, high = sorted((number, point.line))
    return not _is_unbalanced("".join(point.syntax.lines(low, high)))


def _is_unbalanced(code: str) -> bool:
    """Return whether code closes a bracket that it has not opened, or leaves one open."""
    depth = 0
    for character in code:
        depth += (character in PAIRS) - (character in ")]}")
        if depth < 0:
            return True
    return depth > 0


def _is_list_line(line: str, of_code: bool) -> bool:
    """Return whether a line belongs to a list without duplicates; in prose and data, whether it has a word."""
    if _ENTRY.match(line):
        return True
    element = _ELEMENT.fullmatch(line.rstrip()) if of_code else not line.lstrip().startswith("<")
    return bool(element and _LETTERS.search(line))
