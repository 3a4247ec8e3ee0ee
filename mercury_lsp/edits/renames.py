"""Finds the uses of a name whose definition was renamed."""

from __future__ import annotations

from collections.abc import Iterator

from mercury_lsp.edits.patterns import Occurrence
from mercury_lsp.edits.search import RECENT_EDITS, Candidate, Kind, Search
from mercury_lsp.edits.tokens import Tokens
from mercury_lsp.syntax.names import DEFINING, Name, Names, Resolved

_KINDS: dict[str, Kind] = {
    "parameter": "parameter", "local": "local", "definition": "definition", "import": "import", "member": "member",
}  # fmt: skip


def find_candidates(search: Search) -> Iterator[Candidate]:
    """Yield the uses of all names that recent edits renamed."""
    for recent in search.occurrences_by_edit[:RECENT_EDITS]:
        for occurrence in recent:
            pair = occurrence.rename
            if pair is not None and not search.timed_out:
                alone = len(recent) == 1
                yield from _uses(search, occurrence, pair, alone)


def name_at(names: Names, occurrence: Occurrence, new: str) -> Name | None:
    """Return the name `new` in the text of an occurrence."""
    at = names.text.find(new, occurrence.start, occurrence.end)
    return None if at < 0 else names.at(at, at + len(new))


def _uses(search: Search, occurrence: Occurrence, pair: tuple[str, str], alone: bool) -> Iterator[Candidate]:
    """Yield the uses of one renamed name.

    If it was replaced only once, that must have been in its definition and the only edit of the line.
    """
    old, new = pair
    names = search.names
    here = name_at(names, occurrence, new)
    if here is None:
        return
    # After its definition was renamed, the old name has no definition, and its uses mean the new one.
    resolved = names.resolve(old, here.start, here.end)
    if resolved is None or resolved.role == "member":
        resolved = _renamed(search, pair, here)
    if resolved is None or names.defined(old, resolved):
        return
    support = len(
        {other.start for edit in search.occurrences_by_edit for other in edit if other.rename == pair}
    )
    if support < 2:
        known = [name for name in names.all(new) if resolved.start <= name.start < resolved.end]
        if resolved.role not in search.limits.single or here.role == "use" or len(known) > 1 or not alone:
            return
    for name in names.uses(old, resolved):
        yield Candidate(name.start, name.end, new, _KINDS[resolved.role], support, f"{old} -> {new}")


def _renamed(search: Search, pair: tuple[str, str], here: Name) -> Resolved | None:
    """Return the definition of the new name, if it is in an edit that removed the old name."""
    old, new = pair
    names = search.names
    resolved = names.resolve(new, here.start, here.end)
    if resolved is None:
        return None
    taken = [edit for edit in search.edits if old in Tokens.of(edit.before).texts]
    defined = [
        name
        for name in names.all(new)
        if resolved.start <= name.start < resolved.end
        and (name.role in DEFINING or (resolved.role == "member" and names.is_assigned(name)))
    ]
    found = any(edit.start <= name.start and name.end <= edit.end for edit in taken for name in defined)
    return resolved if found else None
