"""Postprocesses the model's text until it fits at the cursor.

A suggestion must not be blank, repeat itself or the text around it, misplace a bracket or an indentation, add a syntax
error, or contain a secret. Text that does not fit is cut back until it fits, or nothing is left.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import thread_time

from mercury_lsp.completion.fitting.block_ends import without_surplus_end
from mercury_lsp.completion.fitting.insertion import Fit, InsertionPoint
from mercury_lsp.completion.fitting.repetition import (
    repeats_lines_above,
    without_loops,
    without_repeated_following,
    without_repeated_items,
    without_repeated_left,
)
from mercury_lsp.context import secrets
from mercury_lsp.syntax.delimiters import balance, leaves_open
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation, reindent, restyle, width
from mercury_lsp.syntax.tree import Syntax

# Larger documents are not parsed for each cut: only `VICINITY_LINES` before and after the cursor are.
MAX_PARSED_CHARACTERS = 200_000
VICINITY_LINES = 400
# Limits of the cuts that are parsed, each about 4 ms in a document of 100,000 characters, and of their CPU time.
MAX_PARSED_CUTS = 16
MAX_PARSE_SECONDS = 0.2
# The number of cuts that are considered; most of them are rejected without parsing.
MAX_CUTS = 200
# The characters before the cursor, and after it in its line, that are searched for the name and parts of a secret.
SECRET_CHARACTERS = 2_000
# Longer texts are cut off.
MAX_CHARACTERS = 8_000

_WORD = re.compile(r"\w+")
# What each secret in a list or a mapping has: a quote around it, or a digit.
_MAY_BE_PART = re.compile(r"[\"'`\d]")
# Invisible and bidirectional control characters (Boucher and Anderson 2021), for a regular expression's [...].
HIDDEN = "\x80-\x9f\u202a-\u202e\u2066-\u2069"
_HIDDEN = re.compile(f"[{HIDDEN}]")
_UNREADABLE = re.compile("[\ufffd\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
# The names of special tokens in the texts of models.
_SPECIAL_TOKEN = re.compile(r"<\|?(fim_\w+|file_sep|endoftext|eot)\|?>")
_PLACEHOLDER = re.compile(
    r"^\W*(your (code|implementation)( goes)? here|(rest of|existing|remaining) (the )?(code|implementation).*"
    r"|(todo\W*)?implement (me|this)\b.*|(add|insert) your .* here)\W*$",
    re.IGNORECASE,
)
_CLOSES = re.compile(r"\s*([)\]}]+|(end|fi|done|esac)\b)[ \t;,]*")
# Words that end one block of a statement and begin its next one.
_CONTINUES = re.compile(
    r"\s*((else|elif|elsif|elseif|except|finally|catch|rescue|ensure|case|default|when|then)\b|;;)"
)
_PREPROCESSOR = re.compile(r"\s*#\s*(if|el|end|define|undef|include|pragma)")


@dataclass(frozen=True, slots=True)
class Fitted:
    """Text that replaces the characters from the cursor to `end`, an offset in its line, usually the cursor itself."""

    text: str
    end: int


def fit(
    text: str,
    document: Document,
    offset: int,
    syntax: Syntax,
    single_line: bool,
    finished: bool = True,
    project: Indentation = NO_INDENTATION,
) -> Fitted | None:
    """Return the part of the model's `text` that fits at an offset; None if nothing fits.

    `syntax`: the document's syntax. `finished`: the text was not ended by a limit; otherwise its last line is dropped
    if it has several. `project`: the project's setting of the indentation.
    """
    text = text[:MAX_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")
    text = _without_hidden(_UNREADABLE.split(text, 1)[0], document)
    if single_line:
        text = text.partition("\n")[0]
    elif not finished and "\n" in text:
        text = text[: text.rindex("\n")]
    point = _insertion_point(document, offset, syntax)
    text = _without_junk(text, point)
    text = restyle(without_loops(text, point.left), f"{point.syntax.document.text}\n{point.left}.", project)
    text = balance(without_repeated_left(text, point), point.left, point.rest)
    if not point.is_prose:
        text = reindent(
            text,
            point.left,
            point.nearest_line_above(),
            (point.lines_above(), point.syntax.document.text),
            project,
        )
    if _is_deeper_after_blank_line(text, point):
        return None
    text = without_repeated_items(without_surplus_end(_within_scope(text, point), point), point)
    if point.left.strip() and point.left[-1] in " \t":
        text = text.lstrip(" \t")
    text = _trim(without_repeated_following(text, point, point.rest), point.rest)
    fitted = _longest_fit(text, point, single_line)
    if fitted is None or repeats_lines_above(fitted.text, point) or _completes_secret(fitted, point):
        return None
    return Fitted(fitted.text.replace("\n", document.eol), fitted.end - point.offset + offset)


def _insertion_point(document: Document, offset: int, syntax: Syntax) -> InsertionPoint:
    if len(document.text) <= MAX_PARSED_CHARACTERS:
        return InsertionPoint(syntax, offset)
    line, _ = document.position(offset)
    first = max(0, line - VICINITY_LINES)
    # A line without indentation may begin a definition.
    while first < line and document.line(first)[:1].strip() == "":
        first += 1
    start = document.span(first)[0]
    end = document.span(min(line + VICINITY_LINES, document.line_count - 1))[1]
    # Lines as long as these are generated.
    if end - start > MAX_PARSED_CHARACTERS:
        reach = MAX_PARSED_CHARACTERS // 8
        start, end = max(start, offset - reach), min(end, offset + reach)
    near = replace(document, text=document.text[start:end])
    return InsertionPoint(Syntax.of(near), offset - start)


def _without_hidden(text: str, document: Document) -> str:
    """Cut before the first hidden character that the document does not have."""
    new = {character for character in _HIDDEN.findall(text) if character not in document.text}
    return text[: min(map(text.index, new), default=len(text))]


def _without_junk(text: str, point: InsertionPoint) -> str:
    """Cut before the name of a special token, and before a placeholder such as "your code here"."""
    special = _SPECIAL_TOKEN.search(text)
    if special and special.group() not in point.syntax.document.text:
        text = text[: special.start()]
    lines = text.split("\n")
    placeholder = next((i for i, line in enumerate(lines) if _PLACEHOLDER.match(line)), len(lines))
    return "\n".join(lines[:placeholder]).rstrip() if placeholder < len(lines) else text


def _within_scope(text: str, point: InsertionPoint) -> str:
    """Cut at the end of the cursor's block: before a line with less indentation, or after it if it only closes blocks.

    The text may continue with the next block of the same statement, such as an `else`.
    """
    lines = text.split("\n")
    if point.in_text or len(lines) == 1:
        return text
    first = next((line for line in lines[1:] if line.strip()), "")
    min_width = width(point.left + lines[0]) if lines[0].strip() else width(first)
    if not point.left.strip():
        min_width = max(min_width, width(point.left + "."))
    for i, line in enumerate(lines[1:], 1):
        if not line.strip() or width(line) >= min_width or _PREPROCESSOR.match(line):
            continue
        closes = _CLOSES.match(line)
        if closes and closes.end() == len(line):
            return "\n".join(lines[: i + 1] + [""] * (i + 1 < len(lines)))
        if not closes and not _CONTINUES.match(line):
            return "\n".join(lines[:i])
        min_width = width(line) + 1
    return text


def _is_deeper_after_blank_line(text: str, point: InsertionPoint) -> bool:
    """Return whether a text before a statement at its line's start begins with a blank line and deeper indentation."""
    if point.is_prose or point.left.strip() or not _WORD.match(point.rest) or text.partition("\n")[0].strip():
        return False
    first = next(filter(str.strip, text.split("\n")), "")
    return width(first) > width(f"{point.left}.")


def _trim(text: str, rest: str) -> str:
    """Strip whitespace from the end of a text, except for one newline and indentation before a rest of the line."""
    if not rest.strip():
        return text.rstrip()
    if rest[0].isspace():
        text = text.rstrip(" \t")
    bare = text.rstrip()
    _, newline, indentation = text[len(bare) :].rpartition("\n")
    return text if not newline or indentation.strip(" \t") else f"{bare}\n{indentation}"


def _longest_fit(text: str, point: InsertionPoint, single_line: bool) -> Fitted | None:
    """Return the longest part of a text that is sound in its place, or else the longest one that is only incomplete."""
    incomplete = None
    seen: set[Fitted] = set()
    considered, deadline = 0, thread_time() + MAX_PARSE_SECONDS
    for part in _parts(text, point.rest):
        queue = deque(_variants(part, point))
        while queue:
            variant = queue.popleft()
            considered += 1
            if considered > MAX_CUTS or thread_time() > deadline:
                return incomplete
            candidate = _adapt_to_rest(variant, point, single_line)
            if not candidate.text.strip() or candidate in seen:
                continue
            if _repeats_rest(variant, point) or _repeats_rest(candidate, point):
                continue
            if candidate.end == point.offset and leaves_open(candidate.text, point.left, point.rest):
                continue
            remaining_rest = point.rest[candidate.end - point.offset :]
            # A part may repeat the following lines although the whole text does not.
            if without_repeated_following(candidate.text, point, remaining_rest) != candidate.text:
                continue
            if len(seen) == MAX_PARSED_CUTS:
                return incomplete
            seen.add(candidate)
            trial = point.try_out(candidate.text, candidate.end)
            # A text such as `} else {` may close a closed block and open it again, but not before a rest of the line.
            closes_before_rest = (
                trial.surplus is not None and candidate.end == point.offset and point.rest.strip() != ""
            )
            if trial.fit == Fit.SOUND and not closes_before_rest:
                return _with_braces_apart(candidate, point, single_line)
            if trial.surplus is not None:
                queue.append(Fitted(_trim(candidate.text[: trial.surplus], point.rest), candidate.end))
            elif trial.closers:
                queue.append(_close_brackets(candidate, trial.closers, point))
            elif trial.fit == Fit.BROKEN and candidate.text.rstrip().endswith(","):
                queue.append(Fitted(candidate.text.rstrip()[:-1], candidate.end))
            if trial.fit == Fit.OPEN and not closes_before_rest:
                incomplete = incomplete or candidate
    return incomplete


def _adapt_to_rest(fitted: Fitted, point: InsertionPoint, single_line: bool) -> Fitted:
    """Adapt a text to the text after it: no comment swallows the rest, and no comma or statement is directly before it.

    The result is empty if that needs a new line but the text must be a single line, and if the text's last word and the
    next word would become one.
    """
    text, end = fitted.text, fitted.end
    if point.rest[end - point.offset :].strip():
        text = point.without_comment(text, end)
    text = point.without_comma(text, end)
    separated = point.on_own_line(text, end)
    unfit = single_line and separated != text
    return Fitted("" if unfit or point.joins_words(separated, end) else separated, end)


def _close_brackets(fitted: Fitted, closers: str, point: InsertionPoint) -> Fitted:
    """Append missing closing brackets to a text, after removing a comment or comma at its end."""
    text = fitted.text
    if not closers.startswith("\n"):
        text = point.without_comment(text, fitted.end).rstrip()
        text = text[:-1] if text.endswith(",") and text != fitted.text else text
    return Fitted(text + closers, fitted.end)


def _with_braces_apart(fitted: Fitted, point: InsertionPoint, single_line: bool) -> Fitted:
    """Put the ends of blocks on their own lines, unless that is a syntax error, as in Go's `T{⏎a: 1}`."""
    apart = point.with_braces_apart(fitted.text, fitted.end)
    if single_line:
        apart = apart.partition("\n")[0]
    if apart == fitted.text or point.try_out(apart, fitted.end).fit != Fit.SOUND:
        return fitted
    return Fitted(apart, fitted.end)


def _parts(text: str, rest: str) -> Iterator[str]:
    """Yield a text with fewer and fewer lines, then the beginnings of its first line that may be complete."""
    yield text
    lines = text.split("\n")
    end = f"\n{lines[-1]}" if rest.strip() and not lines[-1].strip() else ""
    for i in range(len(lines) - 1, 0, -1):
        yield "\n".join(lines[:i]).rstrip() + end
    balance = 0
    ends = []
    for i, character in enumerate(lines[0], 1):
        balance += (character in "([{") - (character in ")]}")
        if balance == 0 and character in ")]};":
            ends.append(i)
    for i in reversed(ends):
        yield lines[0][:i]


def _variants(text: str, point: InsertionPoint) -> Iterator[Fitted]:
    """Yield variants of a text: without an end that repeats the rest of the line, whole, and in place of that rest."""
    rest = point.rest.rstrip()
    overlaps = 0
    for size in range(min(len(text), len(rest)), 0, -1):
        if overlaps == MAX_PARSED_CUTS:
            break
        if (
            text.endswith(rest[:size])
            and not _splits_word(text, len(text) - size)
            and not _splits_word(rest, size)
        ):
            overlaps += 1
            yield Fitted(_trim(text[: len(text) - size], point.rest), point.offset)
    yield Fitted(text, point.offset)
    first, newline, _ = text.partition("\n")
    # A text that only closes the empty block leaves it, and its next lines belong after the block.
    only_closes_block = rest.startswith("}") and first.strip() == rest
    ends_as_rest = rest != "" and first.endswith(rest)
    if ends_as_rest and not only_closes_block and (newline or _splits_first_word(first, rest)):
        yield Fitted(text.rstrip(), point.offset + len(point.rest))


def _repeats_rest(fitted: Fitted, point: InsertionPoint) -> bool:
    """Return whether a text before the rest of the line ends with all of that rest, or is the beginning of it.

    A part of a word is no repetition, nor is a single word that occurs twice, as in `long long`.
    """
    rest, stripped = point.rest.strip(), fitted.text.strip()
    if fitted.end != point.offset or not re.search(r"\w", rest):
        return False
    if rest.startswith(stripped) and not _splits_word(rest, len(stripped)) and re.search(r"\w", stripped):
        return re.fullmatch(r"\w+\s+", fitted.text.lstrip()) is None
    if not fitted.text.endswith(rest):
        return False
    return not _splits_word(fitted.text, len(fitted.text) - len(rest)) or _splits_first_word(
        fitted.text, rest
    )


def _splits_first_word(text: str, end: str) -> bool:
    """Return whether an end of a text that is more than a word begins within a word, as `t:` does in `fit:`."""
    return _splits_word(text, len(text) - len(end)) and _WORD.fullmatch(end) is None


def _splits_word(text: str, at: int) -> bool:
    return re.fullmatch(r"\w\w", text[max(0, at - 1) : at + 1]) is not None


def _completes_secret(fitted: Fitted, point: InsertionPoint) -> bool:
    """Return whether a text contains a part of a likely secret, other parts of which may already be in the document."""
    document = point.syntax.document
    # Usually the name is in the same line or the one above; that of a list or a mapping may be many lines above.
    near, _ = document.span(max(0, point.line - 1))
    start = 0 if _MAY_BE_PART.search(point.left + fitted.text) else near
    left = document.text[max(start, point.offset - SECRET_CHARACTERS) : point.offset]
    rest = point.rest[fitted.end - point.offset :][:SECRET_CHARACTERS]
    start, end = len(left), len(left) + len(fitted.text)
    whole = left + fitted.text + rest
    return any(first < end and last > start for first, last in secrets.find_secrets(whole))
