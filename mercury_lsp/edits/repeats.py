"""Finds further places of edits that were made at least twice, by the patterns of their occurrences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mercury_lsp.edits import matching
from mercury_lsp.edits.patterns import Atom, Hole, Occurrence, Pattern, generalize
from mercury_lsp.edits.renames import name_at
from mercury_lsp.edits.search import MAX_OCCURRENCES, RECENT_EDITS, Candidate, Kind, Limits, Search
from mercury_lsp.edits.tokens import is_identifier, is_word
from mercury_lsp.syntax.names import DEFINING, Name, Names

# The number of words that a place in a comment must share with the edits; fewer if a whole line is edited.
LEAST_COMMENT_WORDS, LEAST_LINE_WORDS = 3, 2


def find_candidates(search: Search) -> Iterator[Candidate]:
    """Yield the places of all patterns of recent edits."""
    patterns: dict[Pattern, Occurrence] = {}
    # The starts of all occurrences of an edit, independent of the tokens around it.
    starts: dict[str, set[int]] = {}
    for pattern, occurrence, other in _patterns(search):
        patterns.setdefault(pattern, occurrence)
        starts.setdefault(_edit(pattern), set()).update((occurrence.start, other.start))
    document: matching.Document | None = None
    for pattern, occurrence in patterns.items():
        support = len(starts[_edit(pattern)])
        kind = _kind(pattern)
        if kind == "delete" and support < search.limits.delete:
            continue
        document = document or matching.Document.of(search.syntax.document.text)
        for place in _places(search, document, pattern, occurrence):
            yield Candidate(place.start, place.end, place.text, kind, support, _edit(pattern))


def _patterns(search: Search) -> Iterator[tuple[Pattern, Occurrence, Occurrence]]:
    """Yield the patterns of pairs of occurrences, the first of which is recent, with both occurrences."""
    for number, recent in enumerate(search.occurrences_by_edit[:RECENT_EDITS]):
        whole: list[Occurrence] = []
        for index, occurrence in enumerate(recent):
            others = [
                *recent[index + 1 :],
                *(o for edit in search.occurrences_by_edit[number + 1 :] for o in edit),
            ]
            for other in others[:MAX_OCCURRENCES]:
                if search.timed_out:
                    return
                if other.start < occurrence.end and occurrence.start < other.end:
                    continue
                if any(one.start <= occurrence.start and occurrence.end <= one.end for one in whole):
                    # The occurrence is a part of a longer one that has a pattern.
                    continue
                pattern = generalize(occurrence, other)
                if pattern is None or (pattern := _cut(search, pattern, occurrence)) is None:
                    continue
                if len(pattern.replaced) > 1:
                    whole.append(occurrence)
                yield pattern, occurrence, other


def _edit(pattern: Pattern) -> str:
    """Return a text for the edit of a pattern, without the tokens around it."""
    return " ".join(f"{_to_text(part.before)} -> {_to_text(part.after)}" for part in pattern.replaced)


def _to_text(atoms: Iterable[Atom]) -> str:
    return " ".join(atom if isinstance(atom, str) else f"<{atom.number}>" for atom in atoms)


def _kind(pattern: Pattern) -> Kind:
    if pattern.is_list_item:
        return "argument"
    if pattern.inserts:
        # Only a modifier may precede any word.
        return "modifier" if any(isinstance(atom, Hole) for atom in pattern.right) else "insert"
    if _is_rename(pattern):
        return "rename"
    return "replace" if any(part.after for part in pattern.replaced) else "delete"


def _is_rename(pattern: Pattern) -> bool:
    if len(pattern.replaced) != 1:
        return False
    match pattern.replaced[0].before, pattern.replaced[0].after:
        case (str(old),), (str(new),):
            return is_identifier(old) and is_identifier(new)
    return False


def _near(search: Search, pattern: Pattern, occurrence: Occurrence) -> tuple[int, int]:
    """Return the numbers of tokens on the left and right of a place that must match."""
    limits: Limits = search.limits
    if pattern.inserts:
        return limits.insert
    if not _is_rename(pattern):
        return limits.replace
    here = name_at(search.names, occurrence, str(pattern.replaced[0].after[0]))
    return limits.member if _role(here) == "member" else limits.rename


def _cut(search: Search, pattern: Pattern, occurrence: Occurrence) -> Pattern | None:
    """Return a pattern with the atoms around it that a place must match; None if it is too general."""
    near = _near(search, pattern, occurrence)
    left = pattern.left[max(0, len(pattern.left) - near[0]) :]
    right = pattern.right[: near[1]]
    # A hole at the outer end matches any word and so restricts nothing.
    while left and isinstance(left[0], Hole):
        left = left[1:]
    while right and isinstance(right[-1], Hole):
        right = right[:-1]
    around: tuple[Atom, ...] = (*left, *right)
    old = [atom for part in pattern.replaced for atom in part.before]
    new = [atom for part in pattern.replaced for atom in part.after]
    if any(isinstance(atom, Hole) and atom not in (*around, *pattern.middle) for atom in new):
        return None
    if not pattern.inserts:
        # A hole of the old side must also be on the new side, or else the two edits are different.
        lost = any(isinstance(atom, Hole) and atom not in new for atom in old)
        return None if lost or not _names(old) else replace(pattern, left=left, right=right)
    if "\n" in new or not _words(new):
        return None
    if pattern.is_list_item:
        return replace(pattern, left=left, right=right) if _words(left) else None
    vague = _words(around) < search.limits.words or any(isinstance(atom, Hole) for atom in around)
    return _modifier(pattern) if vague else replace(pattern, left=left, right=right)


def _modifier(pattern: Pattern) -> Pattern | None:
    """Return the pattern of a word inserted after the first words of a line and before any other word, or None."""
    new = pattern.replaced[0].after
    if len(pattern.replaced) > 1 or "\n" not in pattern.left or not pattern.right:
        return None
    begin = len(pattern.left) - 1 - pattern.left[::-1].index("\n")
    left, after = pattern.left[begin:], pattern.right[0]
    words = all(isinstance(atom, str) and is_identifier(atom) for atom in (*new, *left[1:]))
    goes_on = isinstance(after, Hole) or is_identifier(after)
    return replace(pattern, left=left, right=(after,)) if words and left[1:] and goes_on else None


def _words(atoms: Iterable[Atom]) -> int:
    return sum(isinstance(atom, str) and is_word(atom) for atom in atoms)


def _names(atoms: Iterable[Atom]) -> int:
    return sum(isinstance(atom, str) and is_identifier(atom) for atom in atoms)


def _places(
    search: Search, document: matching.Document, pattern: Pattern, occurrence: Occurrence
) -> Iterator[matching.Place]:
    """Yield the places of a pattern in code; those of a rename only if the name has the same role."""
    syntax, names = search.syntax, search.names
    here = syntax.text_around(occurrence.start + 1)
    if here != syntax.text_around(occurrence.end) or here == "string":
        return
    if here == "comment":
        yield from _comments(search, document, pattern)
        return
    renames = _is_rename(pattern)
    role = _role(name_at(names, occurrence, str(pattern.replaced[0].after[0]))) if renames else None
    for place in matching.find_places(document, pattern, search.deadline):
        low, high = _without_blanks(document.text, place)
        if syntax.text_around(low + 1) or syntax.text_around(high):
            continue
        if (
            renames
            and names.parsed
            and not _is_same(names, document.text[low:high], names.at(low, high), role)
        ):
            continue
        yield place


def _comments(search: Search, document: matching.Document, pattern: Pattern) -> Iterator[matching.Place]:
    """Yield the places in comments; they have no syntax, so more words must match."""
    atoms = (*pattern.left, *pattern.middle, *pattern.right)
    whole = all(isinstance(atom, str) for atom in atoms)
    least = LEAST_LINE_WORDS if "\n" in pattern.middle else LEAST_COMMENT_WORDS
    if not whole or pattern.inserts or _words(atoms) < least:
        return
    for place in matching.find_places(document, pattern, search.deadline):
        low, high = _without_blanks(document.text, place)
        if all(search.syntax.text_around(at) == "comment" for at in (low + 1, high)):
            yield place


def _is_same(names: Names, old: str, name: Name | None, role: str | None) -> bool:
    """Return whether a name may be the renamed one: it has the same role, and no definition in a narrower scope."""
    # A label belongs to the called function.
    if _role(name) != role or role == "label":
        return False
    if name is None or name.role != "use":
        return True
    resolved = names.resolve(old, name.start, name.end)
    return resolved is None or resolved.start == 0


def _without_blanks(text: str, place: matching.Place) -> tuple[int, int]:
    """Return the range of a place without the whitespace around it."""
    old = text[place.start : place.end]
    return place.end - len(old.lstrip()), place.start + len(old.rstrip())


def _role(name: Name | None) -> str | None:
    """Return the role of a name, simplified to member, label, definition or use; None in a string."""
    if name is None:
        return None
    return "definition" if name.role in DEFINING else "member" if name.role == "key" else name.role
