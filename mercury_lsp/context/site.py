"""A place in a document where text may be inserted, and what an insertion does to the syntax there.

Owns the comparison of a document before and after: errors, brackets, and indentation where it has a meaning. An
insertion must make nothing worse. Knows nothing of the model, nor of what is done with text that does not fit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from tree_sitter import Node

from mercury_lsp.context.layout import Blocks
from mercury_lsp.context.syntax import NEARBY, Syntax

PAIRS = {"(": ")", "[": "]", "{": "}"}
CLOSED = 16  # brackets that are closed at most: for each all brackets of the document are counted

Bracket = tuple[int, str]  # offset and character


class Fit(IntEnum):
    """How well an insertion fits."""

    BROKEN = 0  # an error is in it, or comes by it
    OPEN = 1  # something is missing, like the body of `if (x)`
    SOUND = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """An insertion that was tried. Nothing of it is in the document."""

    fit: Fit
    surplus: int | None  # where in the text the first bracket is which closes what is closed already
    closers: str  # what to append, so that the brackets which the cursor's line and the text open are closed


class Site:
    """The cursor at an offset of a document; `left` and `rest` are the two parts of its line.

    `in_text`: it is in a string or a comment.
    """

    def __init__(self, syntax: Syntax, offset: int) -> None:
        self.syntax = syntax
        self.offset = offset
        document = syntax.document
        self.line, column = document.position(offset)
        self.left, self.rest = document.line(self.line)[:column], document.line(self.line)[column:]
        self._start = offset - column
        here, elsewhere = self._errors(syntax, offset + len(self.rest))
        self._elsewhere, self._everywhere = len(elsewhere), len(here) + len(elsewhere)
        self._open: list[Bracket] = []
        _match(self._open, self._brackets(syntax, 0, offset))
        self._closers = self._closed_from(syntax, offset)
        self.in_text = syntax.in_string_or_comment(offset)
        self._unmatched = self._count([], self._closers)
        stack = list(self._open)
        _, skipped = _match(stack, self._closers)
        self._free = Counter(opener for _, opener in (*skipped, *stack))

    def try_out(self, text: str, end: int) -> Trial:
        """Insert `text` in place of the characters from the cursor to `end`, in the same line, and look.

        Its lines end in \\n, and are tried with the document's own ends, which a parser may take otherwise.
        """
        eol = self.syntax.document.eol
        written = text.replace("\n", eol)
        after = self.syntax.replaced(self.offset, end, written)
        last = self.offset + len(written)
        middle = self._brackets(after, self.offset, last)
        closers = [closer for closer in self._closers if closer[0] >= end]
        if self.in_text:  # once it ends, what was string below is code, and the other way round
            closers = self._closed_from(after, last)
        fit = self._fit(after, end, last, self._count(middle, closers))
        surplus = self._surplus(middle)
        if surplus is not None:  # in the text as it was given
            surplus = len(written[:surplus].replace(eol, "\n"))
        return Trial(fit, surplus, self._missing(after, last, middle, closers))

    def _fit(self, after: Syntax, end: int, last: int, unmatched: int) -> Fit:
        stop = last + len(self.rest) - (end - self.offset)
        here, elsewhere = self._errors(after, stop)
        if len(elsewhere) > self._elsewhere or len(here) + len(elsewhere) > self._everywhere:
            return Fit.BROKEN
        if unmatched > self._unmatched:
            return Fit.BROKEN
        if after.tree is None and self._opens_string(after, last):
            return Fit.BROKEN
        if after.strays(self._start, stop) and not self.syntax.strays(0, len(self.syntax.document.text)):
            return Fit.BROKEN
        if after.language and after.language.offside and self._misindented(after, last):
            return Fit.BROKEN
        if not all(node.is_missing for node in here):
            return Fit.BROKEN
        return Fit.OPEN if here else Fit.SOUND

    def _opens_string(self, after: Syntax, last: int) -> bool:
        """Whether a line is left in a string that was not before; for documents without a tree, which tells of that."""

        def open_(syntax: Syntax, offset: int) -> bool:
            line, _ = syntax.document.position(offset)
            ends = (syntax.document.span(i)[1] for i in range(self.line, line + 1))
            return any(syntax.text_around(end) == "string" for end in ends)

        return open_(after, last) and not open_(self.syntax, self.offset)

    def _errors(self, syntax: Syntax, stop: int) -> tuple[list[Node], list[Node]]:
        """The errors that begin in the cursor's line or the text (up to `stop`), and those that do elsewhere."""
        broken = list(syntax.broken())
        here = [node for node in broken if self._start <= node.start_byte <= stop]
        return here, [node for node in broken if not self._start <= node.start_byte <= stop]

    def _brackets(self, syntax: Syntax, start: int, end: int) -> list[Bracket]:
        brackets = (
            syntax.language.brackets if syntax.language else syntax.lexis.brackets if syntax.lexis else ""
        )
        if not brackets:
            return []
        found = re.finditer(f"[{re.escape(brackets)}]", syntax.code(start, end))
        return [(start + match.start(), match.group()) for match in found]

    def _closed_from(self, syntax: Syntax, start: int) -> list[Bracket]:
        """The closing brackets from `start` on whose partners are before it."""
        surplus, _ = _match([], self._brackets(syntax, start, len(syntax.document.text)))
        return surplus

    def _count(self, middle: Iterable[Bracket], closers: Iterable[Bracket]) -> int:
        """How many brackets have no partner when these stand between the cursor and those closers."""
        stack = list(self._open)
        surplus, skipped = _match(stack, [*middle, *closers])
        return len(surplus) + len(skipped) + len(stack)

    def _surplus(self, middle: list[Bracket]) -> int | None:
        free = self._free.copy()
        stack: list[str] = []
        for at, bracket in middle:
            if bracket in PAIRS:
                stack.append(bracket)
            elif stack:
                if PAIRS[stack.pop()] != bracket:
                    return at - self.offset
            else:
                opener = next(opener for opener, closer in PAIRS.items() if closer == bracket)
                if free[opener] == 0:
                    return at - self.offset
                free[opener] -= 1
        return None

    def _missing(self, after: Syntax, last: int, middle: list[Bracket], closers: list[Bracket]) -> str:
        document = after.document
        stack = list(self._open)
        _match(stack, middle)
        openers = [opener for opener in reversed(stack[-CLOSED:]) if opener[0] >= self._start]
        partners = [(last, PAIRS[opener]) for _, opener in openers]
        counts = [self._count([*middle, *partners[:n]], closers) for n in range(len(openers) + 1)]
        missing = ""
        for (at, _), (_, closer) in zip(openers[: counts.index(min(counts))], partners, strict=False):
            line = document.line(document.position(at)[0])
            if document.position(at)[0] != document.position(last)[0]:  # the end of a block of several lines
                missing += "\n" + line[: len(line) - len(line.lstrip())]
            missing += closer
        return missing

    def _misindented(self, after: Syntax, last: int) -> bool:
        """Whether a line of the insertion, or the line that follows it, stands where no block is."""
        if any(at < self._start for at, _ in self._open):
            return False  # inside of brackets a line may begin anywhere
        above = self.syntax.lines(self.line - NEARBY, self.line)
        new = after.lines(self.line, after.document.position(last)[0] + 1)
        blocks = Blocks(above, self.syntax.opens)
        if self.left.strip():  # where its line begins is the user's choice
            blocks.step(new.pop(0))
        for line in new:
            if not blocks.fits(line):
                return True
            blocks.step(line)
        lines = self.syntax.lines(self.line + 1, self.line + NEARBY)
        below = next((line for line in lines if line.strip()), "")
        blocks_before = Blocks(above, self.syntax.opens)
        blocks_before.step(self.left)
        return blocks_before.fits(below) and not blocks.fits(below) and not blocks.opened


def _match(stack: list[Bracket], brackets: Iterable[Bracket]) -> tuple[list[Bracket], list[Bracket]]:
    """Put openers on the stack and take them off; returns the closers and the openers that found no partner."""
    surplus: list[Bracket] = []
    skipped: list[Bracket] = []
    open_ = Counter(PAIRS[opener] for _, opener in stack)
    for at, bracket in brackets:
        if bracket in PAIRS:
            stack.append((at, bracket))
            open_[PAIRS[bracket]] += 1
        elif not open_[bracket]:  # else the whole stack would be gone through for each such closer
            surplus.append((at, bracket))
        else:
            depth = len(stack) - 1
            while PAIRS[stack[depth][1]] != bracket:
                depth -= 1
            open_.subtract(PAIRS[opener] for _, opener in stack[depth:])
            skipped += stack[depth + 1 :]
            del stack[depth:]
    return surplus, skipped
