"""Splits code into logical lines and blocks by indentation, and adapts the style of indentation.

Lines of code are those of `Syntax.lines`, without comments and with blanked strings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_STEP_COLUMNS = 8
# Only the last characters of a line are checked for the beginning of a block.
_LINE_END_CHARACTERS = 80

# The indentation of code, not of the lines of a C comment.
_INDENT = re.compile(r"^([ \t]+)[^\s*]", re.MULTILINE)

_BEGINS_BLOCK = re.compile(r"(?:[{:]|\b(?:do|then|else|begin)|\{\s?\|[^|]*\||(?:\A|\s)<\w[^<>]*>)\Z")


@dataclass(frozen=True, slots=True)
class Indentation:
    """A project's indentation: tabs or spaces, and the columns of a step; None if unknown."""

    tabs: bool | None = None
    width: int | None = None


NO_INDENTATION = Indentation()


def width(line: str) -> int:
    """Return the column of a line's first character that is not blank, with a tab stop every eight columns."""
    line = line.expandtabs()
    return len(line) - len(line.lstrip())


def bracket_depth(line: str) -> int:
    """Return the number of brackets that a line opens minus the number that it closes."""
    return sum(line.count(opener) for opener in "([{") - sum(line.count(closer) for closer in ")]}")


def last_logical_line(lines: Sequence[str]) -> Sequence[str]:
    """Return the last logical line: the last lines, back to the line that opens all brackets they close."""
    balance = 0
    for i in range(len(lines) - 1, -1, -1):
        balance += bracket_depth(lines[i])
        if balance >= 0:
            return lines[i:]
    return lines[-1:]


def join_stripped(lines: Sequence[str]) -> str:
    """Join lines to one, with their leading and trailing whitespace replaced by single spaces."""
    return " ".join(line.strip() for line in lines).strip()


class Blocks:
    """Tracks the columns at which the next line may begin, in a language with indented blocks."""

    def __init__(self, above: Sequence[str], opens: Callable[[str], bool]) -> None:
        """Start after the lines `above`, which must not end inside brackets.

        `opens`: returns whether a body must follow a logical line.
        """
        self._opens = opens
        self._levels: list[int] = []
        self._logical: list[str] = []
        # The number of open brackets in `_logical`.
        self._depth = 0
        above = [line for line in above if line.strip()]
        last = last_logical_line(above)
        self.opened = opens(join_stripped(last))
        for line in [*last[:1], *reversed(above[: len(above) - len(last)])]:
            if not self._levels or width(line) < self._levels[0]:
                self._levels.insert(0, width(line))

    def fits(self, line: str) -> bool:
        """Return whether the indentation allows a line to come next."""
        if self._logical or not line.strip():
            return True
        if self.opened:
            return width(line) > self._levels[-1]
        # The lines above may not reach the top of the file.
        known = min(self._levels, default=1)
        return width(line) in self._levels or width(line) < known

    def step(self, line: str) -> None:
        """Advance by a line, whether it fits or not."""
        if not self._logical:
            if not line.strip():
                return
            self._levels = [level for level in self._levels if level < width(line)] + [width(line)]
        self._logical.append(line)
        self._depth += bracket_depth(line)
        if self._depth <= 0 and not line.endswith("\\"):
            self.opened = self._opens(join_stripped(self._logical))
            self._logical.clear()
            self._depth = 0


def restyle(text: str, document: str, project: Indentation = NO_INDENTATION) -> str:
    """Indent the text, from its second line on, by tabs or spaces as in the document; mixed indentation stays.

    Without indentation in the document, the project's setting applies. The document takes precedence, because mixed
    tabs and spaces are an error in several languages.
    """
    theirs = _INDENT.findall(document)
    ours = _INDENT.findall(text[text.find("\n") + 1 :]) if "\n" in text else []
    if not ours or (not theirs and project.tabs is None):
        return text
    tabs = 2 * sum(indent[0] == "\t" for indent in theirs) > len(theirs) if theirs else project.tabs
    if tabs and not any("\t" in indent for indent in ours):
        size = next((n for n in (4, 2, 3) if all(len(indent) % n == 0 for indent in ours)), 2)
        return _replaced(text, " " * size, "\t")
    if not tabs and not any(" " in indent for indent in ours):
        widths = [len(indent) for indent in theirs if "\t" not in indent]
        steps = Counter(b - a for a, b in pairwise([0, *widths]) if b - a > 1) or Counter([4])
        return _replaced(text, "\t", " " * (project.width or steps.most_common(1)[0][0]))
    return text


def reindent(
    text: str, left: str, above: str, documents: Sequence[str], project: Indentation = NO_INDENTATION
) -> str:
    """Indent each block of the text by the project's step, or by that of the first of `documents` with a block.

    `left`: the text before it in its first line. `above`: the last line above that is not blank. Only the first line of
    a block changes its distance from the line above. The text is unchanged if no step is known or it has no block. A
    tab is always one step.
    """
    lines = text.split("\n")
    begins_line = left == "" and lines[0].strip() != ""
    whole = [above, *lines] if begins_line else [left + lines[0], *lines[1:]]
    steps = _steps(whole)
    if not steps:
        return text
    ours = steps.most_common(1)[0][0]
    theirs = _their_step(ours, any(line.startswith("\t") for line in whole), documents, project)
    if theirs == ours:
        return text
    # Pairs of old and new columns.
    levels = [(width(whole[0]), width(whole[0]))]
    done, previous = whole[:1], whole[0]
    for line in whole[1:]:
        column = width(line)
        if not line.strip():
            done.append(line)
            continue
        while len(levels) > 1 and column < levels[-1][0]:
            levels.pop()
        old, new = levels[-1]
        if column > old:
            new += theirs if column - old == ours and _begins_block(previous) else column - old
            levels.append((column, new))
        elif column < old:
            new = column
        done.append(_indentation(new, line.startswith("\t")) + line.lstrip())
        previous = line
    return "\n".join(done[1:] if begins_line else [lines[0], *done[1:]])


def _their_step(ours: int, tabs: bool, documents: Sequence[str], project: Indentation) -> int:
    """Return the step for blocks in columns, if the step of the text is `ours`."""
    if project.width and not tabs:
        return project.width
    counts = next(filter(None, (_steps(document.split("\n")) for document in documents)), None)
    # Some documents have blocks of several widths.
    return ours if counts is None or ours in counts else counts.most_common(1)[0][0]


def _steps(lines: Sequence[str]) -> Counter[int]:
    """Count blocks by their step in columns."""
    steps = Counter[int]()
    previous = ""
    for line in lines:
        if line.strip():
            if _begins_block(previous) and 0 < width(line) - width(previous) <= MAX_STEP_COLUMNS:
                steps[width(line) - width(previous)] += 1
            previous = line
    return steps


def _begins_block(line: str) -> bool:
    return _BEGINS_BLOCK.search(line.rstrip()[-_LINE_END_CHARACTERS:]) is not None


def _indentation(columns: int, tabs: bool) -> str:
    return "\t" * (columns // 8) + " " * (columns % 8) if tabs else " " * columns


def _replaced(text: str, old: str, new: str) -> str:
    """Replace each `old` at the start of a line, except the first line, by `new`."""
    return re.sub(f"(?<=\n)(?:{old})+", lambda match: new * (len(match.group()) // len(old)), text)
