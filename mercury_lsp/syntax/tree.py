"""What the syntax around an offset tells: string or comment, enclosing definition, one line or several, errors.

Owns the tree-sitter tree of one document. A language without a grammar, and a text over `LARGEST`, have no tree, and
are judged by their lines alone. The line at the cursor is mostly unfinished, so the tree is asked only for what
survives errors (strings, comments, definitions around it); where bodies begin is read from the lines.
Knows nothing of the model and of what it suggests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tree_sitter import Node, Query, Tree

from mercury_lsp.syntax import lexical, parsing
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import head, joined, width
from mercury_lsp.syntax.languages import Language, for_document

LARGEST = 1_000_000  # characters: above it a parse takes longer than a keystroke should
ALWAYS, LONG_MEAN = 100_000, 500  # characters of a text that is parsed anyway; of a longer one's mean line
HOLES = ("arguments", "condition", "body")
LONGEST_HEAD = 1_000  # characters of a logical line that are looked at
NEARBY = 60  # lines, each way, in which the beginning and the end of a body are looked for

_FOREIGN = re.compile("[^\x00-\x7f]+")
_LONE_CR = re.compile("\r(?!\n)")
LINE_END = re.compile(r"\r\n|\r|\n")
_CHARACTER = re.compile(r"[^\r\n]")
_COMMENT_LINE = re.compile(r"^[ \t]*(#|//).*", re.MULTILINE)  # as good as can be told without a grammar
_OPENER = re.compile(r"[{:]$|\b(do|then|begin|else)$")  # of a body, in languages that are not known
# After one of these, or after a word that is no prefix of a string, ' is an apostrophe or begins a lifetime.
_BEFORE_LIFETIMES = frozenset("&<")
_STRING_PREFIX = re.compile("[bfruBFRU]{1,2}")
_BRACKETS = frozenset(["(", ")", "[", "]", "{", "}", "do", "done", "end", "then", ":"])


@dataclass(frozen=True, slots=True, eq=False)
class Syntax:
    """One parse of one document; offsets count characters, as everywhere."""

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

    def errors(self) -> int:
        """How many nodes are errors or missing; 0 without a tree."""
        return sum(1 for _ in self.broken())

    def nodes(self, kinds: Iterable[str] = HOLES) -> list[tuple[int, int, str]]:
        """Start, end and kind of what a programmer writes as one piece, for holes in training; sorted.

        Arguments, conditions and bodies come without the brackets and blanks around them; empty ones and those with
        errors do not come.
        """
        text = self.document.text
        found = []
        captured = self._captured(0, len(text))
        for kind in kinds:
            for node in captured.get(kind, []):
                start, end = _inside(node)
                inside = text[start:end]
                start, end = end - len(inside.lstrip()), start + len(inside.rstrip())
                if start < end and not node.has_error:
                    found.append((start, end, kind))
        return sorted(found)

    def scope(self, offset: int) -> tuple[int, int] | None:
        """Start and end of the innermost definition (function, class and the like) around an offset."""
        for node in self._around(offset):
            if self.language and node.type in self.language.definitions:
                return node.start_byte, node.end_byte
        return None

    @property
    def lexis(self) -> lexical.Lexis | None:
        """The marks of a language without a grammar."""
        return None if self.language else lexical.for_document(self.document.language_id, self.document.path)

    @property
    def is_prose(self) -> bool:
        """Whether most of the document is written for people."""
        return self.lexis.prose if self.lexis else self.language is not None and self.language.prose

    @property
    def brackets(self) -> str:
        """The characters that are brackets in it."""
        return self.lexis.brackets if self.lexis else self.language.brackets if self.language else ""

    @property
    def line_comments(self) -> tuple[str, ...]:
        """The marks that begin a comment up to the line's end."""
        if self.lexis:
            return self.lexis.line_comments
        return (self.language.line_comment,) if self.language and self.language.line_comment else ()

    def in_string_or_comment(self, offset: int) -> bool:
        """Whether a character typed here would be text: not code, nor code that is interpolated into a string."""
        return self.text_around(offset) is not None

    def text_around(self, offset: int) -> Literal["string", "comment"] | None:
        """What a character typed here would be part of; None where it would be code, interpolated code included."""
        line, column = self.document.position(offset)
        if self.lexis:
            return self.lexis.at(self.document.text, offset)
        if self.language and self.tree:
            for node in self._around(offset):
                if node.type in self.language.interpolations:
                    if offset == node.end_byte and self.document.text[offset - 1] in "})":
                        continue  # right behind it
                    return None
                if node.type in self.language.strings and offset < node.end_byte:
                    return "string"
                if node.type in self.language.comments:
                    to_line_end = self.document.text.startswith(self.line_comments, node.start_byte)
                    return "comment" if to_line_end or offset < node.end_byte else None
            start, end = self.document.span(line)
            if not any(node.start_byte <= end and start <= node.end_byte for node in self.broken()):
                return None
        return _unclosed(
            self.document.line(line)[:column], self.language.line_comment if self.language else "#"
        )

    def multiline(self, offset: int) -> bool:
        """Whether a completion here should run over several lines: a body begins here, and is empty so far."""
        number, column = self.document.position(offset)
        rest = self.document.line(number)[column:]
        if rest.strip(" \t)]};,") or self.in_string_or_comment(offset):
            return False
        above = self.lines(number - NEARBY, number + 1)
        above[-1] = above[-1][:column]
        while above and not above[-1].strip(' \t"'):  # blanks, comments and docstrings
            above.pop()
        logical = head(above)
        if not self.opens(joined(logical)):
            return False
        below = self.lines(number + 1, number + 1 + NEARBY)
        first = next((line for line in below if line.strip()), "}")
        return first.lstrip().startswith(("}", ")", "]", ";;")) or width(first) <= width(logical[0])

    def opens(self, line: str) -> bool:
        """Whether a body is to come after this logical line of `code`."""
        if len(line) > LONGEST_HEAD:  # the patterns look at both ends, some again and again from each place
            line = line[: LONGEST_HEAD // 2] + line[-LONGEST_HEAD // 2 :]
        return bool(re.search(self.language.opener, line) if self.language else _OPENER.search(line))

    def code(self, low: int, high: int) -> str:
        """The text from `low` to `high`, as long as it is, without what could be taken for code and is not.

        Comments are blank; strings are quotes in their first line, and blank in the others.
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
        """Start and end of the comments and of the strings that touch a range."""
        if self.lexis:
            spans = [
                span for span in self.lexis.spans(self.document.text) if low < span.end and span.start < high
            ]
            found = [[span[:2] for span in spans if span.kind == kind] for kind in ("comment", "string")]
            return found[0], found[1]
        captured = self._captured(low, high)
        nodes = [
            [(node.start_byte, node.end_byte) for node in captured.get(kind, [])]
            for kind in ("comment", "string")
        ]
        return nodes[0], nodes[1]

    def lines(self, first: int, last: int) -> list[str]:
        """`code` of the lines from number `first` up to `last`; numbers out of range are left out."""
        first, last = max(0, first), min(last, self.document.line_count)
        if first >= last:
            return []
        return LINE_END.split(self.code(self.document.span(first)[0], self.document.span(last - 1)[1]))

    def replaced(self, start: int, end: int, text: str) -> Syntax:
        """The syntax of the document in which `text` replaces a range of one line; only what changed is parsed."""
        document = self.document.replace(start, end, text, self.document.version)
        if self.tree is None or self.language is None:
            return Syntax(document, self.language, None)
        tree = self.tree.copy()
        where = self.document.position
        tree.edit(
            start, end, start + len(text), where(start), where(end), document.position(start + len(text))
        )
        grammar = self.language.grammar()
        assert grammar is not None  # there is a tree
        return Syntax(document, self.language, parsing.parse(grammar, _shadow(document.text), tree))

    def begins_statement(self, offset: int) -> bool:
        """Whether a statement begins at an offset, told without a grammar by the line: its last blank, or its first."""
        if self.language is None or self.tree is None:
            first = self.document.text[offset : offset + 1]
            return (
                not self.is_prose
                and (first.isalnum() or first == "_")
                and self.document.text[offset - 1] not in " \t"
            )
        braced = self.document.text[offset : offset + 1] == "{"
        for node in parsing.around(self.tree, offset + 1):
            if node.start_byte < offset:
                kinds = (self.tree.root_node.type, *self.language.bodies)
                return node.type in kinds
            if not braced and node.start_byte == offset and node.type in self.language.bodies:
                return True  # a body of one line, as after Python's `if x:`
        return self.tree.root_node.start_byte == offset

    def is_tight(self, brace: int) -> bool:
        """Whether the brace that closes this one begins no line, in Go unless a comma ends the line before."""
        if self.lexis:
            return self.lexis.tight
        if not self.language or not self.tree or not self.language.tight:
            return False
        return any(node.type in self.language.tight for node in parsing.around(self.tree, brace + 1)[:2])

    def strays(self, low: int, high: int) -> int:
        """How many nodes in a range the grammar takes though the language does not."""
        return len(self._captured(low, high).get("stray", []))

    def _captured(self, low: int, high: int) -> dict[str, list[Node]]:
        """The nodes of the language's query that touch a range, by capture."""
        if self.tree is None or self.language is None:
            return {}
        return parsing.captured(_query(self.language), self.tree, low, high)

    def _around(self, offset: int) -> Iterator[Node]:
        """The nodes that hold the character left of an offset, innermost first."""
        if self.tree is None or offset == 0:
            return
        yield from parsing.around(self.tree, offset)

    def broken(self) -> Iterator[Node]:
        """The nodes that are errors or missing, in no order."""
        return parsing.broken(self.tree) if self.tree else iter(())


def _is_parsed(document: Document) -> bool:
    """Whether a text is short enough, or of lines short enough: long ones come from machines."""
    size = len(document.text)
    return size <= ALWAYS or size <= min(LARGEST, LONG_MEAN * document.line_count)


def _shadow(text: str) -> bytes:
    r"""A text of one byte a character that parses alike, so that a tree's byte offsets are offsets of characters.

    Of the characters beyond ASCII, blanks become spaces and all others letters, since nearly all of them stand in
    strings, comments and names. A \r which ends a line becomes the \n that grammars know.
    """
    text = _LONE_CR.sub("\n", text)
    if not text.isascii():
        text = _FOREIGN.sub(_plain, text)
    return text.encode("ascii")


def _plain(run: re.Match[str]) -> str:
    return "".join(" " if character.isspace() or character == "\ufeff" else "x" for character in run.group())


@cache
def _query(language: Language) -> Query:
    kinds = {
        "comment": language.comments,
        "string": language.strings,
        "arguments": language.arguments,
        "body": language.bodies,
        "stray": language.strays,
    }
    patterns = [f"({node}) @{capture}" for capture, nodes in kinds.items() for node in nodes]
    grammar = language.grammar()
    assert grammar is not None  # there is a tree
    if grammar.field_id_for_name("condition") is not None:
        patterns.append("(_ condition: (_) @condition)")
    return Query(grammar, "\n".join(patterns))


def _inside(node: Node) -> tuple[int, int]:
    """The range of a node without the brackets it begins and ends with."""
    start, end = node.start_byte, node.end_byte
    if node.child_count > 1:
        first, last = node.children[0], node.children[-1]
        if first.type in _BRACKETS:
            start = first.end_byte
        if last.type in _BRACKETS:
            end = max(start, last.start_byte)
    return start, end


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _unclosed(left: str, line_comment: str) -> Literal["string", "comment"] | None:
    """What has begun in a line and not ended, told from its characters."""
    quote, word = "", 0  # where the word begins that ends right before a character
    i = 0
    while i < len(left):
        character = left[i]
        if quote:
            if character == "\\":
                i += 1
            elif character == quote:
                quote = ""
            word = i + 1
        elif line_comment and left.startswith(line_comment, i):
            return "comment"
        elif character in '"`' or (character == "'" and not _is_apostrophe(left, word, i)):
            quote = character
        if not (character.isalnum() or character == "_"):
            word = i + 1
        i += 1
    return "string" if quote else None


def _is_apostrophe(left: str, word: int, at: int) -> bool:
    if word == at:
        return left[at - 1 : at] in _BEFORE_LIFETIMES
    return at - word > 2 or _STRING_PREFIX.fullmatch(left, word, at) is None
