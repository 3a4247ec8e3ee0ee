"""Compares the syntax of a document before and after an insertion, which must make nothing worse.

Compared are syntax errors, brackets and, in languages where it is syntax, indentation.
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
# The limit of closed brackets, because all brackets of the document are counted for each.
MAX_CLOSED_BRACKETS = 16
END_SEARCH_CHARACTERS = 400

_ENDS_LIST = re.compile(r"\s*[)\]}]")
# What follows a list of columns in SQL.
_ENDS_COLUMNS = re.compile(r"\s*(from|where|group|order|having|limit|union|;)\b", re.IGNORECASE)
# A closing brace at the end of a line that begins with other text and does not open it.
_STUCK = re.compile(r"^[ \t]*[^\s{}][^{}\r\n]*\}[ \t]*$", re.MULTILINE)
_APART = re.compile(r"^[ \t]*\}", re.MULTILINE)
# The head of a block after its opening brace, stripped: two patterns of blanks in a row would take quadratic time.
_BEGINS_BLOCK = re.compile(r"(\|[^|]*\||[\w\s,()]*\bin|[\w\s,()]*->)?")

Bracket = tuple[int, str]
"""Offset and character."""


class Fit(IntEnum):
    """How well an insertion fits."""

    BROKEN = 0
    """The insertion has or causes a syntax error."""
    OPEN = 1
    """Something is missing, such as the body of `if (x)`."""
    SOUND = 2
    """The insertion adds no error."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of a tried insertion, which leaves the document unchanged.

    `surplus`: the offset in the text of the first closing bracket without an open partner; None without any.
    `closers`: text to append that closes the brackets which the cursor's line and the text leave open.
    """

    fit: Fit
    surplus: int | None
    closers: str


class InsertionPoint:
    """The cursor at an offset of a document, and the text around it.

    `left` and `rest`: the cursor's line before and after the cursor. `in_text`: the cursor is in a string or comment.
    """

    def __init__(self, syntax: Syntax, offset: int) -> None:
        self.syntax = syntax
        self.offset = offset
        document = syntax.document
        self.line, column = document.position(offset)
        self.left, self.rest = document.line(self.line)[:column], document.line(self.line)[column:]
        self._start = offset - column
        here, elsewhere = self._errors(syntax, offset + len(self.rest))
        self._errors_elsewhere, self._error_count = len(elsewhere), len(here) + len(elsewhere)
        self._open: list[Bracket] = []
        _match(self._open, self._brackets(syntax, 0, offset))
        self._closers = self._unmatched_closers(syntax, offset)
        self.in_text = syntax.in_string_or_comment(offset)
        self._unmatched = self._count_unmatched([], self._closers)
        stack = list(self._open)
        _, skipped = _match(stack, self._closers)
        self._free_openers = Counter(opener for _, opener in (*skipped, *stack))

    @property
    def is_prose(self) -> bool:
        """Whether the cursor is in a string, a comment, or a document of prose."""
        return self.in_text or self.syntax.is_prose

    def lines_above(self) -> str:
        """Return the lines above the cursor's line, at most `NEARBY_LINES`."""
        start, _ = self.syntax.document.span(max(0, self.line - NEARBY_LINES))
        return self.syntax.document.text[start : self._start]

    def nearest_line_above(self) -> str:
        """Return the nearest line above that is not blank; empty if there is none within `NEARBY_LINES`."""
        numbers = range(self.line - 1, max(-1, self.line - NEARBY_LINES), -1)
        return next(filter(str.strip, map(self.syntax.document.line, numbers)), "")

    def try_out(self, text: str, end: int) -> Trial:
        """Try `text` in place of the characters from the cursor to `end`, which is in the same line.

        The lines of `text` end in \\n; they are tried with the document's line ending, which may parse differently.
        """
        eol = self.syntax.document.eol
        after, last = self._insert(text, end)
        middle = self._brackets(after, self.offset, last)
        closers = [closer for closer in self._closers if closer[0] >= end]
        # If the text ends the string, code and strings after it change places.
        if self.in_text:
            closers = self._unmatched_closers(after, last)
        fit = self._fit(after, end, last, self._count_unmatched(middle, closers))
        surplus = self._find_surplus(middle)
        # The offset must count \n as the line ending.
        if surplus is not None:
            written = after.document.text[self.offset : self.offset + surplus]
            surplus = len(written.replace(eol, "\n"))
        return Trial(fit, surplus, self._missing_closers(after, last, middle, closers))

    def without_comment(self, text: str, end: int) -> str:
        """Return a text without the line comment at its end, which would swallow the text after it in the line."""
        last = text[text.rfind("\n") + 1 :]
        if self.in_text or not any(mark in last for mark in self.syntax.line_comments):
            return text
        after, stop = self._insert(text, end)
        for match in re.finditer("|".join(map(re.escape, self.syntax.line_comments)), last):
            at = stop - len(last) + match.start()
            if after.text_around(at + len(match.group())) == "comment" and after.text_around(at) is None:
                return text[: len(text) - len(last) + match.start()].rstrip(" \t")
        return text

    def without_comma(self, text: str, end: int) -> str:
        """Return a text without the comma at its end, if a closing bracket follows that allows no comma before it.

        In languages with trailing commas the comma stays before a bracket in another line. In Python it also stays in a
        tuple such as `(1,)`.
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
        """Return a text with a new line at its end, if a statement begins directly after the cursor.

        The same holds for the end tag of an element, if the text begins the element's content on a new line.
        """
        rest = self.rest[end - self.offset :]
        first, newline, _ = text.partition("\n")
        begins_line = newline and not first.strip() and text.rpartition("\n")[2].strip()
        if begins_line and rest.lstrip().startswith("</") and not self.in_text:
            return f"{text.rstrip()}\n{self.left[: len(self.left) - len(self.left.lstrip())]}"
        if self.in_text or self.left.strip() or not rest.strip() or not text.rpartition("\n")[2].strip():
            return text
        after, last = self._insert(text, end)
        line, _ = after.document.position(last)
        before = after.code(after.document.span(line)[0], last).rstrip()
        if not before or before[-1] in "([{,":
            return text
        at = last + len(rest) - len(rest.lstrip())
        separated = f"{text.rstrip()}\n{self.left}"
        if after.begins_statement(at):
            return separated
        if self.joins_words(text, end):
            after, last = self._insert(separated, end)
            return separated if after.begins_statement(last) else text
        return text

    def joins_words(self, text: str, end: int) -> bool:
        """Return whether the last word of a text and the word directly after it become one, unless within a word.

        A word that ends with an underscore may be meant as the beginning of the next one.
        """
        rest = self.rest[end - self.offset :]
        in_word = re.search(r"\w\Z", self.left) is not None
        return not in_word and bool(re.search(r"[^\W_]\Z", text) and re.match(r"\w", rest))

    def with_braces_apart(self, text: str, end: int) -> str:
        """Return a text in which each brace that closes a block of several lines is on its own line.

        The brace gets the indentation of the line that opens the block. Documents that mostly end blocks otherwise are
        left as they are.
        """
        rest = self.rest[end - self.offset :]
        if self.in_text or ("}" not in text and not rest.lstrip().startswith("}")):
            return text
        # The document's own style has no braces on their own lines.
        if len(_STUCK.findall(self.syntax.document.text)) > len(_APART.findall(self.syntax.document.text)):
            return text
        after, last = self._insert(text, end)
        first_of_rest = (last + len(rest) - len(rest.lstrip()), "}")
        brackets = self._brackets(after, self.offset, last)
        if rest.lstrip().startswith("}"):
            brackets.append(first_of_rest)
        stack = self._open[-MAX_CLOSED_BRACKETS:]
        written = after.document.text[self.offset : last]
        for at, bracket in reversed(list(_closing(stack, brackets, "}"))):
            indentation = self._block_indentation(after, at, bracket)
            if indentation is not None:
                at = min(at, last) - self.offset
                written = written[:at].rstrip() + f"\n{indentation}" + written[at:]
        return written.replace(self.syntax.document.eol, "\n")

    def _block_indentation(self, after: Syntax, closer: int, opener: int) -> str | None:
        """Return the indentation of a block's first line if the closing brace does not begin its line; else None."""
        document = after.document
        (first, _), (line, column) = document.position(opener), document.position(closer)
        if first == line or not document.line(line)[:column].strip():
            return None
        behind = after.code(opener + 1, document.span(first)[1]).strip()
        if after.is_tight(opener) or len(behind) > MAX_HEAD_CHARACTERS or not _BEGINS_BLOCK.fullmatch(behind):
            return None
        head = document.line(first)
        return head[: len(head) - len(head.lstrip())]

    def _insert(self, text: str, end: int) -> tuple[Syntax, int]:
        """Return the syntax with a text in place of the characters from the cursor to `end`, and the text's end."""
        written = text.replace("\n", self.syntax.document.eol)
        return self.syntax.replaced(self.offset, end, written), self.offset + len(written)

    def _fit(self, after: Syntax, end: int, last: int, unmatched: int) -> Fit:
        stop = last + len(self.rest) - (end - self.offset)
        here, elsewhere = self._errors(after, stop)
        broken = (
            len(elsewhere) > self._errors_elsewhere
            or len(here) + len(elsewhere) > self._error_count
            or unmatched > self._unmatched
            or (after.tree is None and self._opens_string(after, last))
            or (
                after.count_strays(self._start, stop)
                and not self.syntax.count_strays(0, len(self.syntax.document.text))
            )
            or (after.language and after.language.offside and self._misindented(after, last))
            or not all(node.is_missing for node in here)
        )
        return Fit.BROKEN if broken else Fit.OPEN if here else Fit.SOUND

    def _opens_string(self, after: Syntax, last: int) -> bool:
        """Return whether the insertion leaves a string open at a line's end; for documents without a syntax tree."""

        def open_(syntax: Syntax, offset: int) -> bool:
            line, _ = syntax.document.position(offset)
            ends = (syntax.document.span(i)[1] for i in range(self.line, line + 1))
            return any(syntax.text_around(end) == "string" for end in ends)

        return open_(after, last) and not open_(self.syntax, self.offset)

    def _errors(self, syntax: Syntax, stop: int) -> tuple[list[Node], list[Node]]:
        """Return the errors that begin in the cursor's line or the text, up to `stop`, and all other errors."""
        broken = list(syntax.error_nodes())
        here = [node for node in broken if self._start <= node.start_byte <= stop]
        return here, [node for node in broken if not self._start <= node.start_byte <= stop]

    def _brackets(self, syntax: Syntax, start: int, end: int) -> list[Bracket]:
        if not syntax.brackets:
            return []
        found = re.finditer(f"[{re.escape(syntax.brackets)}]", syntax.code(start, end))
        return [(start + match.start(), match.group()) for match in found]

    def _unmatched_closers(self, syntax: Syntax, start: int) -> list[Bracket]:
        """Return the closing brackets after `start` whose partners are before it."""
        surplus, _ = _match([], self._brackets(syntax, start, len(syntax.document.text)))
        return surplus

    def _count_unmatched(self, middle: Iterable[Bracket], closers: Iterable[Bracket]) -> int:
        """Return the number of brackets without a partner if `middle` is between the cursor and `closers`."""
        stack = list(self._open)
        surplus, skipped = _match(stack, [*middle, *closers])
        return len(surplus) + len(skipped) + len(stack)

    def _find_surplus(self, middle: list[Bracket]) -> int | None:
        free = self._free_openers.copy()
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

    def _missing_closers(
        self, after: Syntax, last: int, middle: list[Bracket], closers: list[Bracket]
    ) -> str:
        document = after.document
        stack = list(self._open)
        _match(stack, middle)
        openers = [opener for opener in reversed(stack[-MAX_CLOSED_BRACKETS:]) if opener[0] >= self._start]
        partners = [(last, PAIRS[opener]) for _, opener in openers]
        counts = [self._count_unmatched([*middle, *partners[:n]], closers) for n in range(len(openers) + 1)]
        missing = ""
        for (at, _), (_, closer) in zip(openers[: counts.index(min(counts))], partners, strict=False):
            line = document.line(document.position(at)[0])
            # A block of several lines ends on its own line.
            if document.position(at)[0] != document.position(last)[0]:
                missing += "\n" + line[: len(line) - len(line.lstrip())]
            missing += closer
        return missing

    def _misindented(self, after: Syntax, last: int) -> bool:
        """Return whether the indentation of a line of the insertion, or of the next line, matches no block."""
        # Within brackets a line may begin anywhere.
        if any(at < self._start for at, _ in self._open):
            return False
        lines_above = self.syntax.lines(self.line - NEARBY_LINES, self.line)
        new = after.lines(self.line, after.document.position(last)[0] + 1)
        blocks = Blocks(lines_above, self.syntax.opens_block)
        # The indentation of the cursor's line is the user's choice.
        if self.left.strip():
            blocks.step(new.pop(0))
        for line in new:
            if not blocks.fits(line):
                return True
            blocks.step(line)
        lines = self.syntax.lines(self.line + 1, self.line + NEARBY_LINES)
        below = next((line for line in lines if line.strip()), "")
        blocks_before = Blocks(lines_above, self.syntax.opens_block)
        blocks_before.step(self.left)
        return blocks_before.fits(below) and not blocks.fits(below) and not blocks.opened


def _closing(stack: list[Bracket], brackets: Iterable[Bracket], kind: str) -> Iterator[tuple[int, int]]:
    """Yield the offsets of each closing bracket of a kind and of its partner, which may be on the stack."""
    for at, bracket in brackets:
        if bracket in PAIRS:
            stack.append((at, bracket))
        elif any(PAIRS[opener] == bracket for _, opener in stack[-MAX_CLOSED_BRACKETS:]):
            while PAIRS[stack[-1][1]] != bracket:
                stack.pop()
            opener, _ = stack.pop()
            if bracket == kind:
                yield at, opener


def _match(stack: list[Bracket], brackets: Iterable[Bracket]) -> tuple[list[Bracket], list[Bracket]]:
    """Match brackets on a stack of openers; return the closers and the openers that have no partner."""
    surplus: list[Bracket] = []
    skipped: list[Bracket] = []
    open_ = Counter(PAIRS[opener] for _, opener in stack)
    for at, bracket in brackets:
        if bracket in PAIRS:
            stack.append((at, bracket))
            open_[PAIRS[bracket]] += 1
        # The counter avoids a search of the whole stack for each surplus closer.
        elif not open_[bracket]:
            surplus.append((at, bracket))
        else:
            depth = len(stack) - 1
            while PAIRS[stack[depth][1]] != bracket:
                depth -= 1
            open_.subtract(PAIRS[opener] for _, opener in stack[depth:])
            skipped += stack[depth + 1 :]
            del stack[depth:]
    return surplus, skipped
