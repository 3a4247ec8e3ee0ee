"""Lines and their indentation: logical lines, blocks told by indentation, and tabs against spaces.

Owns what can be said of code by looking at whole lines. Its lines come from `Syntax.lines`, without comments and with
nothing in strings that could be taken for code. Knows no grammar and no document.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDEST_STEP = 8  # columns
_LINE_END = 80  # characters that are looked at

_INDENT = re.compile(r"^([ \t]+)[^\s*]", re.MULTILINE)  # of code: not of the lines of a C comment

_BEGINS_BLOCK = re.compile(r"(?:[{:]|\b(?:do|then|else|begin)|\{\s?\|[^|]*\||(?:\A|\s)<\w[^<>]*>)\Z")


@dataclass(frozen=True, slots=True)
class Indentation:
    """What a project says of how blocks are indented: by tabs or spaces, and by how many columns; None: nothing."""

    tabs: bool | None = None
    width: int | None = None


UNTOLD = Indentation()


def width(line: str) -> int:
    """The column at which a line's text begins, with a tab stop every eight columns."""
    line = line.expandtabs()
    return len(line) - len(line.lstrip())


def depth(line: str) -> int:
    """How many more brackets a line opens than it closes."""
    return sum(line.count(opener) for opener in "([{") - sum(line.count(closer) for closer in ")]}")


def head(lines: Sequence[str]) -> Sequence[str]:
    """The last lines that make one logical line: as far up as the brackets that close are opened."""
    balance = 0
    for i in range(len(lines) - 1, -1, -1):
        balance += depth(lines[i])
        if balance >= 0:
            return lines[i:]
    return lines[-1:]


def joined(lines: Sequence[str]) -> str:
    """One line of several, without what is blank at the ends of each."""
    return " ".join(line.strip() for line in lines).strip()


class Blocks:
    """Where a line may begin in a language whose blocks are told by indentation, going down line by line."""

    def __init__(self, above: Sequence[str], opens: Callable[[str], bool]) -> None:
        """`above` must not end inside of brackets; `opens` tells whether a body is to come after a logical line."""
        self._opens = opens
        self._levels: list[int] = []
        self._logical: list[str] = []
        self._depth = 0  # brackets that these lines leave open
        above = [line for line in above if line.strip()]
        last = head(above)
        self.opened = opens(joined(last))
        for line in [*last[:1], *reversed(above[: len(above) - len(last)])]:
            if not self._levels or width(line) < self._levels[0]:
                self._levels.insert(0, width(line))

    def fits(self, line: str) -> bool:
        """Whether a line may come next."""
        if self._logical or not line.strip():
            return True
        if self.opened:
            return width(line) > self._levels[-1]
        known = min(self._levels, default=1)  # the lines above need not go up to the file's top
        return width(line) in self._levels or width(line) < known

    def step(self, line: str) -> None:
        """Go on to a line, whether it fits or not."""
        if not self._logical:
            if not line.strip():
                return
            self._levels = [level for level in self._levels if level < width(line)] + [width(line)]
        self._logical.append(line)
        self._depth += depth(line)
        if self._depth <= 0 and not line.endswith("\\"):
            self.opened = self._opens(joined(self._logical))
            self._logical.clear()
            self._depth = 0


def restyled(text: str, document: str, told: Indentation = UNTOLD) -> str:
    """A text, from its second line on, indented by tabs or by spaces as the document is; mixed ones are left alone.

    In a document that is not indented so far it is as the project says. A document that is indented goes before:
    tabs and spaces beside one another are an error in several languages.
    """
    theirs = _INDENT.findall(document)
    ours = _INDENT.findall(text[text.find("\n") + 1 :]) if "\n" in text else []
    if not ours or (not theirs and told.tabs is None):
        return text
    tabs = 2 * sum(indent[0] == "\t" for indent in theirs) > len(theirs) if theirs else told.tabs
    if tabs and not any("\t" in indent for indent in ours):
        size = next((n for n in (4, 2, 3) if all(len(indent) % n == 0 for indent in ours)), 2)
        return _replaced(text, " " * size, "\t")
    if not tabs and not any(" " in indent for indent in ours):
        widths = [len(indent) for indent in theirs if "\t" not in indent]
        steps = Counter(b - a for a, b in pairwise([0, *widths]) if b - a > 1) or Counter([4])
        return _replaced(text, "\t", " " * (told.width or steps.most_common(1)[0][0]))
    return text


def reindented(text: str, left: str, above: str, documents: Sequence[str], told: Indentation = UNTOLD) -> str:
    """A text in which each block is indented as far as the project says, or as blocks of a document are.

    That is the first of some documents that has any. `left` is what stands before the text in its first line, `above`
    the line above that says something. Lines that are no block's first keep their distance from the line above.
    Nothing changes where nothing tells, or the text has no block. A tab is a step, whatever its width.
    """
    lines = text.split("\n")
    begins_line = left == "" and lines[0].strip() != ""
    whole = [above, *lines] if begins_line else [left + lines[0], *lines[1:]]
    ours = _step(whole)
    if ours is None:
        return text
    theirs = _their_step(ours, any(line.startswith("\t") for line in whole), documents, told)
    if theirs == ours:
        return text
    levels = [(width(whole[0]), width(whole[0]))]  # columns in the text, and those that they become
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


def _their_step(ours: int, tabs: bool, documents: Sequence[str], told: Indentation) -> int:
    """By how many columns blocks are to be indented, where those of the text are by `ours`."""
    if told.width and not tabs:
        return told.width
    counts = next(filter(None, (_steps(document.split("\n")) for document in documents)), None)
    # Some documents have blocks of several widths.
    return ours if counts is None or ours in counts else counts.most_common(1)[0][0]


def _step(lines: Sequence[str]) -> int | None:
    steps = _steps(lines)
    return steps.most_common(1)[0][0] if steps else None


def _steps(lines: Sequence[str]) -> Counter[int]:
    """By how many columns the first lines of blocks are indented more than the lines that begin these."""
    steps = Counter[int]()
    previous = ""
    for line in lines:
        if line.strip():
            if _begins_block(previous) and 0 < width(line) - width(previous) <= WIDEST_STEP:
                steps[width(line) - width(previous)] += 1
            previous = line
    return steps


def _begins_block(line: str) -> bool:
    return _BEGINS_BLOCK.search(line.rstrip()[-_LINE_END:]) is not None


def _indentation(columns: int, tabs: bool) -> str:
    return "\t" * (columns // 8) + " " * (columns % 8) if tabs else " " * columns


def _replaced(text: str, old: str, new: str) -> str:
    """With each `old` at the beginning of a line, but the first line, as `new`."""
    return re.sub(f"(?<=\n)(?:{old})+", lambda match: new * (len(match.group()) // len(old)), text)
