"""Answers questions about the syntax at an offset: string or comment, one line or several, errors.

A language without a grammar, or a text over `MAX_PARSED_CHARACTERS`, has no tree and is analyzed by its lines. The line
at the cursor is mostly incomplete, so only facts that survive errors (strings, comments) come from the tree; where
bodies begin comes from the lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tree_sitter import Node, Query, Tree

from mercury_lsp.syntax import lexical, parsing
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import join_stripped, last_logical_line, width
from mercury_lsp.syntax.languages import Language, for_document

# A longer text would take too long to parse at each key.
MAX_PARSED_CHARACTERS = 1_000_000
# Texts up to this length are always parsed, longer ones only up to this mean length of a line.
ALWAYS_PARSED_CHARACTERS, MAX_MEAN_LINE_CHARACTERS = 100_000, 500
# The number of characters of a logical line that are matched.
MAX_HEAD_CHARACTERS = 1_000
# The lines above and below in which the start and end of a body are searched.
NEARBY_LINES = 60

_FOREIGN = re.compile("[^\x00-\x7f]+")
_LONE_CR = re.compile("\r(?!\n)")
LINE_END = re.compile(r"\r\n|\r|\n")
_CHARACTER = re.compile(r"[^\r\n]")
# For languages without a tree, and without a known syntax.
_COMMENT_LINE = re.compile(r"^[ \t]*(#|//).*", re.MULTILINE)
_OPENER = re.compile(r"[{:]$|\b(do|then|begin|else)$")


@dataclass(frozen=True, slots=True, eq=False)
class Syntax:
    """The syntax of one document; offsets count characters."""

    document: Document
    language: Language | None
    tree: Tree | None

    @classmethod
    def of(cls, document: Document) -> Syntax:
        """Parse a document."""
        language = for_document(document.language_id, document.path)
        grammar = language.grammar() if language and _is_parsed(document) else None
        tree = parsing.parse(grammar, _shadow(document.text)) if grammar else None
        return cls(document, language, tree)

    def error_count(self) -> int:
        """Return the number of error nodes and missing nodes; 0 without a tree."""
        return sum(1 for _ in self.error_nodes())

    @property
    def lexis(self) -> lexical.Lexis | None:
        """The marks of a language without a grammar; None for a language with one."""
        return None if self.language else lexical.for_document(self.document.language_id, self.document.path)

    @property
    def is_prose(self) -> bool:
        """Whether most of the document is text for people."""
        return self.lexis.prose if self.lexis else self.language is not None and self.language.prose

    @property
    def brackets(self) -> str:
        """The characters that are brackets in the language."""
        return self.lexis.brackets if self.lexis else self.language.brackets if self.language else ""

    @property
    def line_comments(self) -> tuple[str, ...]:
        """The marks of comments up to the end of the line."""
        if self.lexis:
            return self.lexis.line_comments
        return (self.language.line_comment,) if self.language and self.language.line_comment else ()

    def in_string_or_comment(self, offset: int) -> bool:
        """Return whether a character typed at an offset would be text: neither code nor interpolated code."""
        return self.text_around(offset) is not None

    def text_around(self, offset: int) -> Literal["string", "comment"] | None:
        """Return whether a character typed at an offset would be in a string or a comment.

        None means code, or interpolated code.
        """
        line, _ = self.document.position(offset)
        if self.lexis:
            return self.lexis.at(self.document.text, offset)
        if self.language and self.tree:
            for node in parsing.nodes_around(self.tree, offset):
                if node.type in self.language.interpolations:
                    # The offset is directly after the interpolation.
                    if offset == node.end_byte and self.document.text[offset - 1] in "})":
                        continue
                    return None
                if node.type in self.language.strings and offset < node.end_byte:
                    return "string"
                if node.type in self.language.comments:
                    to_line_end = self.document.text.startswith(self.line_comments, node.start_byte)
                    return "comment" if to_line_end or offset < node.end_byte else None
            broken = self._error_lines(line)
            if not broken:
                return None
        else:
            broken = {line}
        # A comment or a string that has no end yet may begin in an earlier line.
        low, _ = self.document.span(min(broken))
        language = self.language
        lexis = lexical.of_code(
            language.line_comment if language else "#", language is not None and language.offside
        )
        span = next(reversed(lexis.spans(self.document.text[low:offset])), None)
        if span is None or not span.open or low + span.end < offset:
            return None
        return span.kind if self.document.position(low + span.start)[0] in broken else None

    def _error_lines(self, line: int) -> set[int]:
        """Return the nearby lines, up to `line`, in which an error begins, and `line` itself if an error covers it."""
        start, end = self.document.span(line)
        first, _ = self.document.span(max(0, line - NEARBY_LINES))
        broken = [node for node in self.error_nodes() if first <= node.end_byte and node.start_byte <= end]
        numbers = {self.document.position(max(first, node.start_byte))[0] for node in broken}
        return numbers | ({line} if any(start <= node.end_byte for node in broken) else set())

    def allows_multiline(self, offset: int) -> bool:
        """Return whether a completion should have several lines: an empty body begins at the offset."""
        number, column = self.document.position(offset)
        rest = self.document.line(number)[column:]
        if rest.strip(" \t)]};,") or self.in_string_or_comment(offset):
            return False
        above = self.lines(number - NEARBY_LINES, number + 1)
        above[-1] = above[-1][:column]
        # Skip blanks, comments and docstrings.
        while above and not above[-1].strip(' \t"'):
            above.pop()
        logical = last_logical_line(above)
        if not self.opens_block(join_stripped(logical)):
            return False
        below = self.lines(number + 1, number + 1 + NEARBY_LINES)
        first = next((line for line in below if line.strip()), "}")
        return first.lstrip().startswith(("}", ")", "]", ";;")) or width(first) <= width(logical[0])

    def opens_block(self, line: str) -> bool:
        """Return whether a body must follow a logical line of `code`."""
        # The patterns look at both ends, and some take quadratic time.
        if len(line) > MAX_HEAD_CHARACTERS:
            line = line[: MAX_HEAD_CHARACTERS // 2] + line[-MAX_HEAD_CHARACTERS // 2 :]
        return bool(re.search(self.language.opener, line) if self.language else _OPENER.search(line))

    def code(self, low: int, high: int) -> str:
        """Return the text from `low` to `high` with comments and strings blanked, at the same length.

        Comments become spaces; strings become quotes in their first line, and spaces in the others.
        """
        text = self.document.text
        if self.tree is None and self.language:
            return _COMMENT_LINE.sub(_blank, text[low:high])
        comments, strings = self._texts(low, high)
        marks = [(start, end, " ") for start, end in comments]
        for start, end in strings:
            line_end = text.find("\n", start, end) % (end + 1)
            marks += [(start, line_end, '"'), (line_end, end, " ")]
        pieces = []
        at = low
        for start, end, filler in sorted(marks):
            start, end = max(at, start), min(end, high)
            if end > start:
                pieces += [text[at:start], _CHARACTER.sub(filler, text[start:end])]
                at = end
        return "".join([*pieces, text[at:high]])

    def _texts(self, low: int, high: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Return start and end of the comments, and of the strings, that touch a range."""
        if self.lexis:
            spans = [
                span for span in self.lexis.spans(self.document.text) if low < span.end and span.start < high
            ]
            by_kind = [[span[:2] for span in spans if span.kind == kind] for kind in ("comment", "string")]
            return by_kind[0], by_kind[1]
        captured = self._captured(low, high)
        nodes = [
            [(node.start_byte, node.end_byte) for node in captured.get(kind, [])]
            for kind in ("comment", "string")
        ]
        return nodes[0], nodes[1]

    def lines(self, first: int, last: int) -> list[str]:
        """Return the `code` of the lines from `first` to before `last`; numbers out of range are left out."""
        first, last = max(0, first), min(last, self.document.line_count)
        if first >= last:
            return []
        return LINE_END.split(self.code(self.document.span(first)[0], self.document.span(last - 1)[1]))

    def replaced(self, start: int, end: int, text: str) -> Syntax:
        """Return the syntax with a range replaced by `text`; only the change is parsed."""
        document = self.document.replace(start, end, text, self.document.version)
        if self.tree is None or self.language is None:
            return Syntax(document, self.language, None)
        tree = self.tree.copy()
        where = self.document.position
        tree.edit(
            start, end, start + len(text), where(start), where(end), document.position(start + len(text))
        )
        grammar = self.language.grammar()
        # There is a tree, and so a grammar.
        assert grammar is not None
        return Syntax(document, self.language, parsing.parse(grammar, _shadow(document.text), tree))

    def begins_statement(self, offset: int) -> bool:
        """Return whether a statement begins at an offset; without a tree, whether a word begins directly there."""
        if self.language is None or self.tree is None:
            first = self.document.text[offset : offset + 1]
            return (
                not self.is_prose
                and (first.isalnum() or first == "_")
                and self.document.text[offset - 1] not in " \t"
            )
        braced = self.document.text[offset : offset + 1] == "{"
        for node in parsing.nodes_around(self.tree, offset + 1):
            if node.start_byte < offset:
                kinds = (self.tree.root_node.type, *self.language.bodies)
                return node.type in kinds
            if not braced and node.start_byte == offset and node.type in self.language.bodies:
                # The body is in the line of its head, as in Python's `if x: return`.
                return True
        return self.tree.root_node.start_byte == offset

    def is_tight(self, brace: int) -> bool:
        """Return whether the brace that closes the one at `brace` must not begin a line, in Go except after a comma."""
        if self.lexis:
            return self.lexis.tight
        if not self.language or not self.tree or not self.language.tight:
            return False
        return any(
            node.type in self.language.tight for node in parsing.nodes_around(self.tree, brace + 1)[:2]
        )

    def count_strays(self, low: int, high: int) -> int:
        """Return the number of nodes in a range that the grammar accepts, but the language does not."""
        return len(self._captured(low, high).get("stray", []))

    def _captured(self, low: int, high: int) -> dict[str, list[Node]]:
        """Return the nodes of the language's query that touch a range, by capture."""
        if self.tree is None or self.language is None:
            return {}
        return parsing.capture(_query(self.language), self.tree, low, high)

    def error_nodes(self) -> Iterator[Node]:
        """Return the error nodes and missing nodes, in no order."""
        return parsing.error_nodes(self.tree) if self.tree else iter(())


def _is_parsed(document: Document) -> bool:
    """Return whether a text and its lines are short enough to parse: long lines are generated."""
    size = len(document.text)
    return size <= ALWAYS_PARSED_CHARACTERS or size <= min(
        MAX_PARSED_CHARACTERS, MAX_MEAN_LINE_CHARACTERS * document.line_count
    )


def _shadow(text: str) -> bytes:
    r"""Return a text with one byte per character that parses alike, so that byte offsets are character offsets.

    Of the characters beyond ASCII, blanks become spaces and all others letters, because nearly all of them are in
    strings, comments and names. A lone \r becomes \n, which grammars recognize as a line ending.
    """
    text = _LONE_CR.sub("\n", text)
    if not text.isascii():
        text = _FOREIGN.sub(_plain, text)
    return text.encode("ascii")


def _plain(run: re.Match[str]) -> str:
    return "".join(" " if character.isspace() or character == "\ufeff" else "x" for character in run.group())


@cache
def _query(language: Language) -> Query:
    kinds = {"comment": language.comments, "string": language.strings, "stray": language.strays}
    patterns = [f"({node}) @{capture}" for capture, nodes in kinds.items() for node in nodes]
    grammar = language.grammar()
    # There is a tree, and so a grammar.
    assert grammar is not None
    return Query(grammar, "\n".join(patterns))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())
