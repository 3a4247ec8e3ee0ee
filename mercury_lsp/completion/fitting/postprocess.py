"""Turns the model's text into what is shown, or into nothing.

A suggestion must not be blank, repeat itself or the text around it, put a bracket or an indentation out of place, make
a syntax error, or hold a secret. Text that does not fit is cut back until it does.
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

# Parsed again for each cut; of larger documents only `VICINITY_LINES` each way are looked at.
MAX_PARSED_CHARACTERS = 200_000
VICINITY_LINES = 400
# Cuts that are tried, at about 4 ms each in a document of 100,000 characters, and the thread's own time for them.
MAX_TRIALS = 16
TRIALS_SECONDS = 0.2
# Cuts that are looked at, most of which are no trial.
MAX_CANDIDATES = 200
# Of the cursor's line and the one above, each way, that may have a part of a secret or its name.
SECRET_CHARACTERS = 2_000
# Of a text: the rest is cut off, whoever wrote it.
MAX_CHARACTERS = 8_000

_WORD = re.compile(r"\w+")
# What is not seen, and what turns text around (Boucher and Anderson 2021), as the inside of a set.
HIDDEN = "\x80-\x9f\u202a-\u202e\u2066-\u2069"
_HIDDEN = re.compile(f"[{HIDDEN}]")
_UNREADABLE = re.compile("[\ufffd\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_SPECIAL = re.compile(r"<\|?(fim_\w+|file_sep|endoftext|eot)\|?>")  # what models call their special tokens
_PLACEHOLDER = re.compile(
    r"^\W*(your (code|implementation)( goes)? here|(rest of|existing|remaining) (the )?(code|implementation).*"
    r"|(todo\W*)?implement (me|this)\b.*|(add|insert) your .* here)\W*$",
    re.IGNORECASE,
)
_CLOSES = re.compile(r"\s*([)\]}]+|(end|fi|done|esac)\b)[ \t;,]*")
_GOES_ON = re.compile(  # with a statement whose blocks end where these words stand
    r"\s*((else|elif|elsif|elseif|except|finally|catch|rescue|ensure|case|default|when|then)\b|;;)"
)
_PREPROCESSOR = re.compile(r"\s*#\s*(if|el|end|define|undef|include|pragma)")


@dataclass(frozen=True, slots=True)
class Shown:
    """Text for the range from the cursor to `end`, an offset in the cursor's line; mostly that is the cursor itself."""

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
    """What to show of the model's `text` at an offset; None where nothing is worth it.

    `syntax` is the document's. An unfinished text was ended by a limit: its last line, if it has several, is dropped.
    `project`: how it says that blocks are indented.
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
    while first < line and document.line(first)[:1].strip() == "":  # to where a definition may begin
        first += 1
    start = document.span(first)[0]
    end = document.span(min(line + VICINITY_LINES, document.line_count - 1))[1]
    if end - start > MAX_PARSED_CHARACTERS:  # lines that nobody wrote
        reach = MAX_PARSED_CHARACTERS // 8
        start, end = max(start, offset - reach), min(end, offset + reach)
    near = replace(document, text=document.text[start:end])
    return Site(Syntax.of(near), offset - start)


def _without_hidden(text: str, document: Document) -> str:
    """Cut before the first hidden character that the document does not have."""
    new = {character for character in _HIDDEN.findall(text) if character not in document.text}
    return text[: min(map(text.index, new), default=len(text))]


def _without_junk(text: str, site: Site) -> str:
    """Cut before what models write when they have nothing to say: names of special tokens, and stopgaps."""
    special = _SPECIAL.search(text)
    if special and special.group() not in site.syntax.document.text:
        text = text[: special.start()]
    lines = text.split("\n")
    stopgap = next((i for i, line in enumerate(lines) if _PLACEHOLDER.match(line)), len(lines))
    return "\n".join(lines[:stopgap]).rstrip() if stopgap < len(lines) else text


def _within_scope(text: str, site: Site) -> str:
    """Cut where the cursor's block ends: before a line that is indented less, or behind it if it only closes.

    It may go on where a statement has several blocks.
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
    """Without blanks at the end; before a rest of the line, with at most the new line that the rest goes to."""
    if not rest.strip():
        return text.rstrip()
    if rest[0].isspace():
        text = text.rstrip(" \t")
    bare = text.rstrip()
    _, newline, indentation = text[len(bare) :].rpartition("\n")
    return text if not newline or indentation.strip(" \t") else f"{bare}\n{indentation}"


def _fitting(text: str, site: Site, single_line: bool) -> Shown | None:
    """The longest part of a text that is sound in its place; else the longest that only waits for more to come."""
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
            if without_following(candidate.text, site, left) != candidate.text:
                continue  # a part may repeat what the whole does not
            if len(seen) == MAX_TRIALS:
                return waiting
            seen.add(candidate)
            trial = site.try_out(candidate.text, candidate.end)
            # A text may close what is closed already and open it again, `} else {`, but not before a rest of the line.
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
    """A text that what follows it can follow: no comment swallows it, no comma or statement stands right before it.

    It is empty where that takes a new line and there may be one line only.
    """
    text, end = found.text, found.end
    if site.rest[end - site.offset :].strip():
        text = site.without_comment(text, end)
    text = site.without_comma(text, end)
    alone = site.on_own_line(text, end)
    return Shown("" if single_line and alone != text else alone, end)


def _closed(found: Shown, closers: str, site: Site) -> Shown:
    """A text with the brackets that it lacks, which no comment and no comma stands before."""
    text = found.text
    if not closers.startswith("\n"):
        text = site.without_comment(text, found.end).rstrip()
        text = text[:-1] if text.endswith(",") and text != found.text else text
    return Shown(text + closers, found.end)


def _with_braces_apart(found: Shown, site: Site, single_line: bool) -> Shown:
    """A text whose blocks end in lines of their own, unless that is no syntax, as in Go's `T{⏎a: 1}`."""
    apart = site.with_braces_apart(found.text, found.end)
    if single_line:
        apart = apart.partition("\n")[0]
    if apart == found.text or site.try_out(apart, found.end).fit != Fit.SOUND:
        return found
    return Shown(apart, found.end)


def _parts(text: str, rest: str) -> Iterator[str]:
    """A text, then without its last line, and so on, then the beginnings of its first line that may be complete."""
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
    """A text without what the rest of the line repeats, most of it first; whole; and in place of that rest."""
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
    # A block that is closed with nothing in it is left: what the text says after that belongs elsewhere.
    leaves = rest.startswith("}") and first.strip() == rest
    ends_as_rest = rest != "" and first.endswith(rest)
    if ends_as_rest and not leaves and (newline or _splits_first_word(first, rest)):
        yield Shown(text.rstrip(), site.offset + len(site.rest))


def _repeats_rest(found: Shown, site: Site) -> bool:
    """Whether a text before the rest of the line ends with all that this says, or says what this begins with.

    A part of a word is no repetition, and neither is one word that comes twice, as in `long long`.
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
    """Whether a text's end, which is more than a word, begins within a word of it, as `t:` does in `fit:`."""
    return _splits_word(text, len(text) - len(end)) and _WORD.fullmatch(end) is None


def _splits_word(text: str, at: int) -> bool:
    return re.fullmatch(r"\w\w", text[max(0, at - 1) : at + 1]) is not None


def _is_secret(found: Shown, site: Site) -> bool:
    """Whether a text has a part of what looks like a secret in its lines: some of it may stand there already."""
    above = site.syntax.document.line(site.line - 1) if site.line else ""
    left, rest = (
        f"{above}\n{site.left}"[-SECRET_CHARACTERS:],
        site.rest[found.end - site.offset :][:SECRET_CHARACTERS],
    )
    start, end = len(left), len(left) + len(found.text)
    whole = left + found.text + rest
    return any(first < end and last > start for first, last in secrets.find(whole))
