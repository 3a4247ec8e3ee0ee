"""Compares the syntax of a document before and after an insertion: errors, brackets, meaningful indentation.

An insertion must make nothing worse.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from tree_sitter import Node

from mercury_lsp.syntax.indentation import Blocks
from mercury_lsp.syntax.tree import MAX_HEAD_CHARACTERS, NEARBY_LINES, Syntax

PAIRS = {"(": ")", "[": "]", "{": "}"}
CLOSED = 16  # brackets that are closed at most: for each all brackets of the document are counted
END_SEARCH_CHARACTERS = 400

_ENDS_LIST = re.compile(r"\s*[)\]}]")
_ENDS_COLUMNS = re.compile(r"\s*(from|where|group|order|having|limit|union|;)\b", re.IGNORECASE)  # of SQL
# A brace behind something that does not open it.
_STUCK = re.compile(r"^[ \t]*[^\s{}][^{}\r\n]*\}[ \t]*$", re.MULTILINE)
_APART = re.compile(r"^[ \t]*\}", re.MULTILINE)
# What may stand after its brace, stripped: two patterns of blanks in a row would take quadratic time.
_BEGINS_BLOCK = re.compile(r"(\|[^|]*\||[\w\s,()]*\bin|[\w\s,()]*->)?")

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

    @property
    def is_prose(self) -> bool:
        """Whether the cursor is in a string, a comment, or a document that is written for people."""
        return self.in_text or self.syntax.is_prose

    def before(self) -> str:
        """The lines above, as many as are nearby."""
        start, _ = self.syntax.document.span(max(0, self.line - NEARBY_LINES))
        return self.syntax.document.text[start : self._start]

    def above(self) -> str:
        """The nearest line above that says something; empty where none does nearby."""
        numbers = range(self.line - 1, max(-1, self.line - NEARBY_LINES), -1)
        return next(filter(str.strip, map(self.syntax.document.line, numbers)), "")

    def try_out(self, text: str, end: int) -> Trial:
        """Insert `text` in place of the characters from the cursor to `end`, in the same line, and look.

        Its lines end in \\n, and are tried with the document's own ends, which a parser may take otherwise.
        """
        eol = self.syntax.document.eol
        after, last = self._written(text, end)
        middle = self._brackets(after, self.offset, last)
        closers = [closer for closer in self._closers if closer[0] >= end]
        if self.in_text:  # once it ends, what was string below is code, and the other way round
            closers = self._closed_from(after, last)
        fit = self._fit(after, end, last, self._count(middle, closers))
        surplus = self._surplus(middle)
        if surplus is not None:  # in the text as it was given
            written = after.document.text[self.offset : self.offset + surplus]
            surplus = len(written.replace(eol, "\n"))
        return Trial(fit, surplus, self._missing(after, last, middle, closers))

    def without_comment(self, text: str, end: int) -> str:
        """A text without the line comment that it ends with: what is to follow in the line would be in it."""
        last = text[text.rfind("\n") + 1 :]
        if self.in_text or not any(mark in last for mark in self.syntax.line_comments):
            return text
        after, stop = self._written(text, end)
        for match in re.finditer("|".join(map(re.escape, self.syntax.line_comments)), last):
            at = stop - len(last) + match.start()
            if after.text_around(at + len(match.group())) == "comment" and after.text_around(at) is None:
                return text[: len(text) - len(last) + match.start()].rstrip(" \t")
        return text

    def without_comma(self, text: str, end: int) -> str:
        """A text without a comma at its end, where a closing bracket follows that takes none before it.

        In languages where it may, a comma stays before an end that is in another line, and in Python's `(1,)`.
        """
        bare = text.rstrip()
        if self.in_text or not bare.endswith(","):
            return text
        lexis = self.syntax.lexis
        follows = self.syntax.document.text[end : end + END_SEARCH_CHARACTERS]
        closes = _ENDS_LIST.match(follows) or (
            lexis and lexis.line_comments == ("--",) and _ENDS_COLUMNS.match(follows)
        )
        in_line = "\n" not in text[len(bare) :] and self.rest[end - self.offset :].strip() != ""
        if not closes or (not in_line and (lexis is None or lexis.trailing_commas)):
            return text
        if self.syntax.language and self.syntax.language.offside and follows.lstrip().startswith(")"):
            opener = self._open[-1][0] if self._open else 0
            if not re.match(r"[\w)\]]", self.syntax.document.text[max(0, opener - 1) : opener]):
                return text
        return bare[:-1] + ("" if in_line else text[len(bare) :])

    def on_own_line(self, text: str, end: int) -> str:
        """A text with a new line at its end, where a statement begins that stands after the cursor already.

        So it is before the end tag of an element whose content the text begins in a line of its own.
        """
        rest = self.rest[end - self.offset :]
        ends_element = rest.lstrip().startswith("</") and not self.in_text
        if (
            ends_element
            and not text.partition("\n")[0].strip()
            and text.rpartition("\n")[2].strip()
            and "\n" in text
        ):
            return f"{text.rstrip()}\n{self.left[: len(self.left) - len(self.left.lstrip())]}"
        if self.in_text or self.left.strip() or not rest.strip() or not text.rpartition("\n")[2].strip():
            return text
        after, last = self._written(text, end)
        line, _ = after.document.position(last)
        before = after.code(after.document.span(line)[0], last).rstrip()
        if not before or before[-1] in "([{,":
            return text
        at = last + len(rest) - len(rest.lstrip())
        return f"{text.rstrip()}\n{self.left}" if after.begins_statement(at) else text

    def with_braces_apart(self, text: str, end: int) -> str:
        """A text in which each brace that closes a block of several lines begins a line, as the block's line does."""
        rest = self.rest[end - self.offset :]
        if self.in_text or ("}" not in text and not rest.lstrip().startswith("}")):
            return text
        if len(_STUCK.findall(self.syntax.document.text)) > len(_APART.findall(self.syntax.document.text)):
            return text  # which is how it is written here
        after, last = self._written(text, end)
        first_of_rest = (last + len(rest) - len(rest.lstrip()), "}")
        brackets = self._brackets(after, self.offset, last)
        if rest.lstrip().startswith("}"):
            brackets.append(first_of_rest)
        stack = self._open[-CLOSED:]
        written = after.document.text[self.offset : last]
        for at, bracket in reversed(list(_closing(stack, brackets, "}"))):
            indentation = self._stuck(after, at, bracket)
            if indentation is not None:
                at = min(at, last) - self.offset
                written = written[:at].rstrip() + f"\n{indentation}" + written[at:]
        return written.replace(self.syntax.document.eol, "\n")

    def _stuck(self, after: Syntax, closer: int, opener: int) -> str | None:
        """The indentation of a block's first line, where the brace that closes it is not first in its own line."""
        document = after.document
        (first, _), (line, column) = document.position(opener), document.position(closer)
        if first == line or not document.line(line)[:column].strip():
            return None
        behind = after.code(opener + 1, document.span(first)[1]).strip()
        if after.is_tight(opener) or len(behind) > MAX_HEAD_CHARACTERS or not _BEGINS_BLOCK.fullmatch(behind):
            return None
        head = document.line(first)
        return head[: len(head) - len(head.lstrip())]

    def _written(self, text: str, end: int) -> tuple[Syntax, int]:
        """The syntax with a text in place of the characters from the cursor to `end`, and where the text ends in it."""
        written = text.replace("\n", self.syntax.document.eol)
        return self.syntax.replaced(self.offset, end, written), self.offset + len(written)

    def _fit(self, after: Syntax, end: int, last: int, unmatched: int) -> Fit:
        stop = last + len(self.rest) - (end - self.offset)
        here, elsewhere = self._errors(after, stop)
        broken = (
            len(elsewhere) > self._elsewhere
            or len(here) + len(elsewhere) > self._everywhere
            or unmatched > self._unmatched
            or (after.tree is None and self._opens_string(after, last))
            or (after.strays(self._start, stop) and not self.syntax.strays(0, len(self.syntax.document.text)))
            or (after.language and after.language.offside and self._misindented(after, last))
            or not all(node.is_missing for node in here)
        )
        return Fit.BROKEN if broken else Fit.OPEN if here else Fit.SOUND

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
        if not syntax.brackets:
            return []
        found = re.finditer(f"[{re.escape(syntax.brackets)}]", syntax.code(start, end))
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
        above = self.syntax.lines(self.line - NEARBY_LINES, self.line)
        new = after.lines(self.line, after.document.position(last)[0] + 1)
        blocks = Blocks(above, self.syntax.opens)
        if self.left.strip():  # where its line begins is the user's choice
            blocks.step(new.pop(0))
        for line in new:
            if not blocks.fits(line):
                return True
            blocks.step(line)
        lines = self.syntax.lines(self.line + 1, self.line + NEARBY_LINES)
        below = next((line for line in lines if line.strip()), "")
        blocks_before = Blocks(above, self.syntax.opens)
        blocks_before.step(self.left)
        return blocks_before.fits(below) and not blocks.fits(below) and not blocks.opened


def _closing(stack: list[Bracket], brackets: Iterable[Bracket], kind: str) -> Iterator[tuple[int, int]]:
    """Where each closing bracket of a kind is, and where its partner, which may be on the stack."""
    for at, bracket in brackets:
        if bracket in PAIRS:
            stack.append((at, bracket))
        elif any(PAIRS[opener] == bracket for _, opener in stack[-CLOSED:]):
            while PAIRS[stack[-1][1]] != bracket:
                stack.pop()
            opener, _ = stack.pop()
            if bracket == kind:
                yield at, opener


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
