"""Cuts repetitions of a text: of itself, of the lines around it, and of the line into which it is inserted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from mercury_lsp.completion.fitting.elements import without_equal_elements
from mercury_lsp.completion.fitting.insertion import PAIRS, Site
from mercury_lsp.syntax.indentation import width

# The number of lines below the cursor that must not be repeated.
FOLLOWING_LINES = 12
MAX_LOOP_LINES = 4
# The lines of a list that are searched before and after the cursor, and the equal ones whose brackets are compared.
LIST_LINES = 400
MAX_TWINS = 16
# The least lengths of a repetition of the text before the cursor, in characters; the last one is for a single word.
MIN_REPEATED_IN_CODE = 10
MIN_REPEATED_IN_TEXT = 5
MIN_REPEATED_WITH_WORD = 9

_STUTTER = re.compile(r"([A-Za-z]\w{0,40}\W[^\n]{1,20}?)\1{4,}|(\S{3,20}?)\2{5,}")
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
    """
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


def _alike(one: str, other: str, indented: bool) -> bool:
    """Return whether two lines are equal except for blanks, the kind of quotes, and `;` or `,` at the end."""
    return not (indented and width(one) != width(other)) and _said(one) == _said(other)


def _said(line: str) -> str:
    return re.sub(r"\s+", "", line).replace('"', "'").rstrip(";,")


def without_following(text: str, site: Site, rest: str) -> str:
    """Cut before lines that repeat the lines after the cursor's line; `rest` is what remains of the cursor's line.

    Merely similar lines are kept: one in forty real lines differs from the next one by at most a tenth.
    """
    document = site.syntax.document
    last = min(site.line + 1 + 2 * FOLLOWING_LINES, document.line_count)
    below = map(document.line, range(site.line + 1, last))
    following = [line for line in below if line.strip()][:FOLLOWING_LINES]
    lines = text.split("\n")
    whole = [site.left + lines[0], *lines[1:]]
    whole[-1] += rest
    for i, line in enumerate(whole):
        pairs = list(zip(filter(str.strip, whole[i:]), following, strict=False))
        alike = all(_alike(one, other, indented=i + n > 0) for n, (one, other) in enumerate(pairs))
        if line.strip() and alike and any(re.search(r"\w", one) for one, _ in pairs):
            return "\n".join(lines[:i])
    return text


def repeats(text: str, site: Site) -> bool:
    """Return whether the lines with the text repeat the lines directly above."""
    lines = [line.strip() for line in (site.left + text + site.rest).split("\n") if line.strip()]
    document = site.syntax.document
    above = (document.line(i).strip() for i in range(site.line - 1, max(-1, site.line - 60), -1))
    last = [line for line in above if line][: len(lines)]
    return last[::-1] == lines and _TWO_WORDS.search(" ".join(lines)) is not None


def without_left(text: str, site: Site) -> str:
    """Cut the start of a text that repeats the text left of the cursor: its line, several words, or the begun word."""
    left, bare = site.left.rstrip(), text.lstrip(" \t")
    whole = left.lstrip()
    if whole in _BULLETS and bare.startswith(f"{whole} "):
        return bare[len(whole) :]
    # More of a line without a letter, such as hyphens, is no repetition.
    if len(whole) > 1 and bare.startswith(whole) and re.search(r"[^\W\d_]", whole):
        return bare[len(whole) :]
    least = MIN_REPEATED_IN_TEXT if site.is_prose else MIN_REPEATED_IN_CODE
    first = bare.partition("\n")[0]
    for size in range(min(len(first), len(left), LIST_LINES), least - 1, -1):
        same = first[:size]
        if left.endswith(same) and (
            _TWO_WORDS.search(same) or (size >= MIN_REPEATED_WITH_WORD and _WORD.search(same))
        ):
            return bare[size:]
    begun, again = _LAST_WORD.search(site.left), _FIRST_WORD.match(text)
    if begun is None or again is None or again.group() == begun.group():
        return text
    twice = again.group().startswith(begun.group())
    one_word = begun.group() + again.group() in site.syntax.document.text
    return text[len(begun.group()) :] if twice and not one_word else text


def without_listed(text: str, site: Site) -> str:
    """Cut before a repetition in the same list: of an item, an element, or a line of text or data."""
    text = without_equal_elements(text, site)
    lines = text.split("\n")
    whole = [site.left + lines[0], *lines[1:]]
    whole[-1] += site.rest
    first = next((i for i, line in enumerate(whole) if line.strip()), len(whole))
    if first == len(whole):
        return text
    look = _item_again if _MARKER.match(whole[first]) else _line_again
    repeated = look(whole, first, site)
    return text if repeated is None else "\n".join(lines[:repeated])


def _item_again(whole: list[str], first: int, site: Site) -> int | None:
    """Return the first line of the first repeated item; an item is a line and the lines indented below it."""
    column = width(whole[first])
    above = [*_nearby(site, -1, column)][::-1]
    others = [*_items(above, column), *_items(_nearby(site, 1, column), column)]
    known = {_said(" ".join(item)) for _, item in others}
    for at, item in _items(whole[first:], column):
        said = _said(" ".join(item))
        if said in known and re.search(r"\w", said):
            return first + at
        known.add(said)
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


def _nearby(site: Site, step: int, column: int) -> Iterator[str]:
    """Yield the lines of the list with markers in a column, from the cursor's line upwards or downwards by `step`."""
    document = site.syntax.document
    last = max(-1, min(document.line_count, site.line + step * (LIST_LINES + 1)))
    blank = False
    for number in range(site.line + step, last, step):
        line = document.line(number)
        if line.strip():
            if width(line) < column or (width(line) == column and not _MARKER.match(line)):
                return
        elif blank:
            return
        blank = not line.strip()
        yield line


def _line_again(whole: list[str], first: int, site: Site) -> int | None:
    """Return the first line that repeats another one of the unbroken run of list lines around the cursor."""
    kind = partial(_is_listed, of_code=site.syntax.brackets != "")
    known = dict[str, list[int]]()
    for step in (-1, 1):
        document = site.syntax.document
        last = max(-1, min(document.line_count, site.line + step * (LIST_LINES + 1)))
        for number in range(site.line + step, last, step):
            line = document.line(number)
            if not kind(line) or width(line) != width(whole[first]) or _SECTION.fullmatch(line):
                break
            known.setdefault(_said(line), []).append(number)
    own, looks = set[str](), 0
    for i, line in enumerate(whole[first:], first):
        said = _said(line)
        if not kind(line) and not (kind(line + ",") and (said in known or said in own)):
            break
        twins = known.get(said, [])[: MAX_TWINS - looks]
        looks += len(twins)
        if said in own or any(_in_one_list(site, number) for number in twins):
            return i
        if _leaves(line) or _SECTION.fullmatch(line):
            break
        own.add(said)
    return None


def _in_one_list(site: Site, number: int) -> bool:
    """Return whether a line is in the same brackets as the cursor's line: each object of a list has the same keys."""
    low, high = sorted((number, site.line))
    return not _leaves("".join(site.syntax.lines(low, high)))


def _leaves(code: str) -> bool:
    """Return whether code closes a bracket that it has not opened, or leaves one open."""
    depth = 0
    for character in code:
        depth += (character in PAIRS) - (character in ")]}")
        if depth < 0:
            return True
    return depth > 0


def _is_listed(line: str, of_code: bool) -> bool:
    """Return whether a line belongs to a list without duplicates; in prose and data, whether it has a word."""
    if _ENTRY.match(line):
        return True
    element = _ELEMENT.fullmatch(line.rstrip()) if of_code else not line.lstrip().startswith("<")
    return bool(element and _LETTERS.search(line))
