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
from mercury_lsp.completion.fitting.insertion import Fit, Site
from mercury_lsp.completion.fitting.repetition import (
    repeats,
    without_following,
    without_left,
    without_listed,
    without_loops,
)
from mercury_lsp.context import secrets
from mercury_lsp.syntax.delimiters import balanced, leaves_open
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation, reindented, restyled, width
from mercury_lsp.syntax.tree import Syntax

# Larger documents are not parsed for each cut: only `VICINITY_LINES` before and after the cursor are.
MAX_PARSED_CHARACTERS = 200_000
VICINITY_LINES = 400
# Limits of the cuts that are parsed, each about 4 ms in a document of 100,000 characters, and of their CPU time.
MAX_TRIALS = 16
TRIALS_SECONDS = 0.2
# The number of cuts that are considered; most of them are rejected without parsing.
MAX_CANDIDATES = 200
# The characters before and after the cursor, in its line and the line above, that are searched for parts of a secret.
SECRET_CHARACTERS = 2_000
# Longer texts are cut off.
MAX_CHARACTERS = 8_000

_WORD = re.compile(r"\w+")
# Invisible and bidirectional control characters (Boucher and Anderson 2021), for a regular expression's [...].
HIDDEN = "\x80-\x9f\u202a-\u202e\u2066-\u2069"
_HIDDEN = re.compile(f"[{HIDDEN}]")
_UNREADABLE = re.compile("[\ufffd\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
# The names of special tokens in the texts of models.
_SPECIAL = re.compile(r"<\|?(fim_\w+|file_sep|endoftext|eot)\|?>")
_PLACEHOLDER = re.compile(
    r"^\W*(your (code|implementation)( goes)? here|(rest of|existing|remaining) (the )?(code|implementation).*"
    r"|(todo\W*)?implement (me|this)\b.*|(add|insert) your .* here)\W*$",
    re.IGNORECASE,
)
_CLOSES = re.compile(r"\s*([)\]}]+|(end|fi|done|esac)\b)[ \t;,]*")
# Words that end one block of a statement and begin its next one.
_GOES_ON = re.compile(
    r"\s*((else|elif|elsif|elseif|except|finally|catch|rescue|ensure|case|default|when|then)\b|;;)"
)
_PREPROCESSOR = re.compile(r"\s*#\s*(if|el|end|define|undef|include|pragma)")


@dataclass(frozen=True, slots=True)
class Shown:
    """Text that replaces the characters from the cursor to `end`, an offset in its line, usually the cursor itself."""

    text: str
    end: int


def shown(
    text: str,
    document: Document,
    offset: int,
    syntax: Syntax,
    single_line: bool,
    finished: bool = True,
    project: Indentation = NO_INDENTATION,
) -> Shown | None:
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
    site = _site(document, offset, syntax)
    text = _without_junk(text, site)
    text = restyled(without_loops(text, site.left), f"{site.syntax.document.text}\n{site.left}.", project)
    text = balanced(without_left(text, site), site.left, site.rest)
    if not site.is_prose:
        text = reindented(text, site.left, site.above(), (site.before(), site.syntax.document.text), project)
    text = without_listed(without_surplus_end(_within_scope(text, site), site), site)
    if site.left.strip() and site.left[-1] in " \t":
        text = text.lstrip(" \t")
    text = _trimmed(without_following(text, site, site.rest), site.rest)
    found = _fitting(text, site, single_line)
    if found is None or repeats(found.text, site) or _is_secret(found, site):
        return None
    return Shown(found.text.replace("\n", document.eol), found.end - site.offset + offset)


def _site(document: Document, offset: int, syntax: Syntax) -> Site:
    if len(document.text) <= MAX_PARSED_CHARACTERS:
        return Site(syntax, offset)
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
    return Site(Syntax.of(near), offset - start)


def _without_hidden(text: str, document: Document) -> str:
    """Cut before the first hidden character that the document does not have."""
    new = {character for character in _HIDDEN.findall(text) if character not in document.text}
    return text[: min(map(text.index, new), default=len(text))]


def _without_junk(text: str, site: Site) -> str:
    """Cut before the name of a special token, and before a placeholder such as "your code here"."""
    special = _SPECIAL.search(text)
    if special and special.group() not in site.syntax.document.text:
        text = text[: special.start()]
    lines = text.split("\n")
    stopgap = next((i for i, line in enumerate(lines) if _PLACEHOLDER.match(line)), len(lines))
    return "\n".join(lines[:stopgap]).rstrip() if stopgap < len(lines) else text


def _within_scope(text: str, site: Site) -> str:
    """Cut at the end of the cursor's block: before a line with less indentation, or after it if it only closes blocks.

    The text may continue with the next block of the same statement, such as an `else`.
    """
    lines = text.split("\n")
    if site.in_text or len(lines) == 1:
        return text
    first = next((line for line in lines[1:] if line.strip()), "")
    least = width(site.left + lines[0]) if lines[0].strip() else width(first)
    if not site.left.strip():
        least = max(least, width(site.left + "."))
    for i, line in enumerate(lines[1:], 1):
        if not line.strip() or width(line) >= least or _PREPROCESSOR.match(line):
            continue
        closes = _CLOSES.match(line)
        if closes and closes.end() == len(line):
            return "\n".join(lines[: i + 1] + [""] * (i + 1 < len(lines)))
        if not closes and not _GOES_ON.match(line):
            return "\n".join(lines[:i])
        least = width(line) + 1
    return text


def _trimmed(text: str, rest: str) -> str:
    """Strip whitespace from the end of a text, except for one newline and indentation before a rest of the line."""
    if not rest.strip():
        return text.rstrip()
    if rest[0].isspace():
        text = text.rstrip(" \t")
    bare = text.rstrip()
    _, newline, indentation = text[len(bare) :].rpartition("\n")
    return text if not newline or indentation.strip(" \t") else f"{bare}\n{indentation}"


def _fitting(text: str, site: Site, single_line: bool) -> Shown | None:
    """Return the longest part of a text that is sound in its place, or else the longest one that is only incomplete."""
    waiting = None
    seen: set[Shown] = set()
    looks, until = 0, thread_time() + TRIALS_SECONDS
    for part in _parts(text, site.rest):
        queue = deque(_variants(part, site))
        while queue:
            written = queue.popleft()
            looks += 1
            if looks > MAX_CANDIDATES or thread_time() > until:
                return waiting
            candidate = _settled(written, site, single_line)
            if not candidate.text.strip() or candidate in seen:
                continue
            if _repeats_rest(written, site) or _repeats_rest(candidate, site):
                continue
            if candidate.end == site.offset and leaves_open(candidate.text, site.left, site.rest):
                continue
            left = site.rest[candidate.end - site.offset :]
            # A part may repeat the following lines although the whole text does not.
            if without_following(candidate.text, site, left) != candidate.text:
                continue
            if len(seen) == MAX_TRIALS:
                return waiting
            seen.add(candidate)
            trial = site.try_out(candidate.text, candidate.end)
            # A text such as `} else {` may close a closed block and open it again, but not before a rest of the line.
            closes = trial.surplus is not None and candidate.end == site.offset and site.rest.strip() != ""
            if trial.fit == Fit.SOUND and not closes:
                return _with_braces_apart(candidate, site, single_line)
            if trial.surplus is not None:
                queue.append(Shown(_trimmed(candidate.text[: trial.surplus], site.rest), candidate.end))
            elif trial.closers:
                queue.append(_closed(candidate, trial.closers, site))
            elif trial.fit == Fit.BROKEN and candidate.text.rstrip().endswith(","):
                queue.append(Shown(candidate.text.rstrip()[:-1], candidate.end))
            if trial.fit == Fit.OPEN and not closes:
                waiting = waiting or candidate
    return waiting


def _settled(found: Shown, site: Site, single_line: bool) -> Shown:
    """Adapt a text to the text after it: no comment swallows the rest, and no comma or statement is directly before it.

    The result is empty if that needs a new line but the text must be a single line.
    """
    text, end = found.text, found.end
    if site.rest[end - site.offset :].strip():
        text = site.without_comment(text, end)
    text = site.without_comma(text, end)
    alone = site.on_own_line(text, end)
    return Shown("" if single_line and alone != text else alone, end)


def _closed(found: Shown, closers: str, site: Site) -> Shown:
    """Append missing closing brackets to a text, after removing a comment or comma at its end."""
    text = found.text
    if not closers.startswith("\n"):
        text = site.without_comment(text, found.end).rstrip()
        text = text[:-1] if text.endswith(",") and text != found.text else text
    return Shown(text + closers, found.end)


def _with_braces_apart(found: Shown, site: Site, single_line: bool) -> Shown:
    """Put the ends of blocks on their own lines, unless that is a syntax error, as in Go's `T{⏎a: 1}`."""
    apart = site.with_braces_apart(found.text, found.end)
    if single_line:
        apart = apart.partition("\n")[0]
    if apart == found.text or site.try_out(apart, found.end).fit != Fit.SOUND:
        return found
    return Shown(apart, found.end)


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


def _variants(text: str, site: Site) -> Iterator[Shown]:
    """Yield variants of a text: without an end that repeats the rest of the line, whole, and in place of that rest."""
    rest = site.rest.rstrip()
    found = 0
    for size in range(min(len(text), len(rest)), 0, -1):
        if found == MAX_TRIALS:
            break
        if (
            text.endswith(rest[:size])
            and not _splits_word(text, len(text) - size)
            and not _splits_word(rest, size)
        ):
            found += 1
            yield Shown(_trimmed(text[: len(text) - size], site.rest), site.offset)
    yield Shown(text, site.offset)
    first, newline, _ = text.partition("\n")
    # A text that only closes the empty block leaves it, and its next lines belong after the block.
    leaves = rest.startswith("}") and first.strip() == rest
    ends_as_rest = rest != "" and first.endswith(rest)
    if ends_as_rest and not leaves and (newline or _splits_first_word(first, rest)):
        yield Shown(text.rstrip(), site.offset + len(site.rest))


def _repeats_rest(found: Shown, site: Site) -> bool:
    """Return whether a text before the rest of the line ends with all of that rest, or is the beginning of it.

    A part of a word is no repetition, nor is a single word that occurs twice, as in `long long`.
    """
    said, bare = site.rest.strip(), found.text.strip()
    if found.end != site.offset or not re.search(r"\w", said):
        return False
    if said.startswith(bare) and not _splits_word(said, len(bare)) and re.search(r"\w", bare):
        return re.fullmatch(r"\w+\s+", found.text.lstrip()) is None
    if not found.text.endswith(said):
        return False
    return not _splits_word(found.text, len(found.text) - len(said)) or _splits_first_word(found.text, said)


def _splits_first_word(text: str, end: str) -> bool:
    """Return whether an end of a text that is more than a word begins within a word, as `t:` does in `fit:`."""
    return _splits_word(text, len(text) - len(end)) and _WORD.fullmatch(end) is None


def _splits_word(text: str, at: int) -> bool:
    return re.fullmatch(r"\w\w", text[max(0, at - 1) : at + 1]) is not None


def _is_secret(found: Shown, site: Site) -> bool:
    """Return whether a text contains a part of a likely secret, other parts of which may already be in the document."""
    above = site.syntax.document.line(site.line - 1) if site.line else ""
    left = f"{above}\n{site.left}"[-SECRET_CHARACTERS:]
    rest = site.rest[found.end - site.offset :][:SECRET_CHARACTERS]
    start, end = len(left), len(left) + len(found.text)
    whole = left + found.text + rest
    return any(first < end and last > start for first, last in secrets.find(whole))
