"""Finds the places of a document where a recent edit comes next: renames, repeated edits, repeated lines and series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from time import monotonic

from mercury_lsp.context.secrets import is_secret
from mercury_lsp.edits import lines, renames, repeats, series
from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.search import (
    DEFAULT_LIMITS,
    MAX_CANDIDATES,
    SEARCH_SECONDS,
    Candidate,
    Dismissals,
    Limits,
    Search,
)
from mercury_lsp.syntax.definitions import scope as scope_of
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax


def find_candidates(
    syntax: Syntax,
    edits: Sequence[Edit],
    dismissals: Dismissals | None = None,
    limits: Limits = DEFAULT_LIMITS,
    seconds: float = SEARCH_SECONDS,
) -> list[Candidate]:
    """Return the places where the recent edits of a document come next, the best first.

    `edits`: the newest last. `seconds`: the time limit of the search.
    """
    search = Search.of(syntax, edits, limits, monotonic() + seconds)
    found: list[Candidate] = []
    finders = (renames, repeats, lines, series)
    for candidate in chain.from_iterable(finder.find_candidates(search) for finder in finders):
        if len(found) == MAX_CANDIDATES or search.timed_out:
            break
        candidate = _normalize(syntax, candidate)
        if dismissals is not None and not dismissals.allows(candidate):
            continue
        recently_edited = any(edit.start <= candidate.end and candidate.start <= edit.end for edit in edits)
        overlaps = any(one.start < candidate.end and candidate.start < one.end for one in found)
        if recently_edited or overlaps or candidate in found or _is_done(syntax.document.text, candidate):
            continue
        if not has_secret(syntax.document, candidate):
            found.append(candidate)
    newest = edits[-1].start if edits else 0
    scope = scope_of(syntax, newest + 1) or (0, len(syntax.document.text))
    return sorted(found, key=lambda one: _rank(one, newest, scope))


def _normalize(syntax: Syntax, candidate: Candidate) -> Candidate:
    """Return a candidate with its key, and without the text that it has in common with the document.

    Names stay whole.
    """
    document = syntax.document
    edit = Edit(candidate.start, document.text[candidate.start : candidate.end], candidate.text).trimmed()
    line, column = document.position(edit.start)
    key = (document.line(line).strip(), column, candidate.text.strip())
    if candidate.kind == "rename":
        old, new = document.text[candidate.start : candidate.end], candidate.text
        start, end = candidate.end - len(old.lstrip()), candidate.start + len(old.rstrip())
        return replace(candidate, start=start, end=end, text=new.strip(), key=key)
    if candidate.kind not in ("replace", "delete", "insert", "modifier", "argument"):
        return replace(candidate, key=key)
    return replace(candidate, start=edit.start, end=edit.start + len(edit.before), text=edit.after, key=key)


def _is_done(text: str, one: Candidate) -> bool:
    """Return whether the document already has the text of a candidate at its place."""
    if one.start < one.end:
        return text[one.start : one.end] == one.text
    new, reach = one.text.strip(), len(one.text) + 20
    before, after = text[max(0, one.start - reach) : one.start], text[one.end : one.end + reach]
    return before.rstrip().endswith(new) or after.lstrip().startswith(new)


def has_secret(document: Document, one: Candidate) -> bool:
    """Return whether the lines of a candidate would contain what looks like a password, a key or a token."""
    low = document.span(document.position(one.start)[0])[0]
    high = document.span(document.position(one.end)[0])[1]
    text = document.text
    return is_secret(text[low : one.start] + one.text + text[one.end : high])


def _rank(one: Candidate, newest: int, scope: tuple[int, int]) -> tuple[bool, bool, int]:
    """Return a sort key: places in the scope of the newest edit first, then places below it, the nearest first."""
    return not scope[0] <= one.start < scope[1], one.start < newest, abs(one.start - newest)
