"""Finds the places of a document where a recent edit comes next: uses of a renamed name, and matches of patterns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from mercury_lsp.edits import matching
from mercury_lsp.edits.history import Edit, by_line
from mercury_lsp.edits.patterns import Atom, Hole, Occurrence, Pattern, generalize, occurrences
from mercury_lsp.edits.tokens import Tokens, is_identifier, is_word
from mercury_lsp.syntax.names import DEFINING, Name, Names, Resolved
from mercury_lsp.syntax.tree import Syntax

RECENT_EDITS = 8
COMPARED_EDITS = 24
MAX_OCCURRENCES = 32
MAX_CANDIDATES = 40
SEARCH_SECONDS = 0.04

Kind = Literal["parameter", "local", "definition", "import", "member", "rename", "replace", "insert", "argument"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a place must have in common with the occurrences of an edit.

    `replace` and `insert`: tokens on the left and right that must match, if something is replaced or only inserted.
    `words`: how many literal words an insertion needs around it. `single`: the kinds of renames for which one
    occurrence suffices.
    """

    replace: tuple[int, int] = (1, 1)
    insert: tuple[int, int] = (4, 2)
    rename: tuple[int, int] = (1, 1)
    words: int = 2
    single: frozenset[str] = frozenset({"parameter", "local", "definition", "import"})


USUAL = Limits()


@dataclass(frozen=True, slots=True)
class Candidate:
    """Replaces the text from `start` to `end`. `support`: the number of occurrences it is drawn from.

    `key` is the same for the same edit of the same line, wherever the line is by then.
    """

    start: int
    end: int
    text: str
    kind: Kind
    support: int
    context: int = 0
    key: tuple[str, int, str] = ("", 0, "")


def candidates(
    syntax: Syntax,
    edits: Sequence[Edit],
    dismissed: Collection[tuple[str, int, str]] = (),
    limits: Limits = USUAL,
    seconds: float = SEARCH_SECONDS,
) -> list[Candidate]:
    """The places where the document's recent edits (the newest last) come next, the best first."""
    text, until = syntax.document.text, monotonic() + seconds
    found: list[list[Occurrence]] = []
    joined = by_line(text, edits)
    for edit in joined[::-1][:COMPARED_EDITS]:
        found.append(occurrences(text, edit)[:MAX_OCCURRENCES])
        if monotonic() > until:
            break
    names = Names(syntax)
    done = [(edit.start, edit.end) for edit in edits]
    made: dict[tuple[int, int], Candidate] = {}
    for candidate in _raw(syntax, names, found, limits, until, joined):
        if len(made) >= MAX_CANDIDATES or monotonic() > until:
            break
        candidate = _keyed(syntax, candidate)
        if candidate.key in dismissed or _is_done(text, candidate):
            continue
        if any(low <= candidate.end and candidate.start <= high for low, high in done):
            continue
        if not any(low < candidate.end and candidate.start < high for low, high in made):
            made.setdefault((candidate.start, candidate.end), candidate)
    newest = edits[-1].start if edits else 0
    scope = syntax.scope(newest + 1) or (0, len(text))
    return sorted(made.values(), key=lambda one: _rank(syntax, one, newest, scope))


def _raw(
    syntax: Syntax, names: Names, found: Sequence[Sequence[Occurrence]], limits: Limits, until: float,
    edits: Sequence[Edit],
) -> Iterator[Candidate]:
    for recent in found[:RECENT_EDITS]:
        for occurrence in recent:
            if occurrence.rename is not None:
                yield from _renames(names, occurrence, [o for edit in found for o in edit], limits, len(recent) == 1, edits)
    document: matching.Document | None = None
    seen: set[Pattern] = set()
    for number, recent in enumerate(found[:RECENT_EDITS]):
        taken: set[tuple[int, int]] = set()
        for index, occurrence in enumerate(recent):
            others = [*recent[index + 1 :], *(o for edit in found[number + 1 :] for o in edit)]
            for other in others[:MAX_OCCURRENCES]:
                if monotonic() > until:
                    return
                if other.start < occurrence.end and occurrence.start < other.end:
                    continue
                if any(low <= occurrence.start and occurrence.end <= high for low, high in taken):
                    # The whole line's edit has a pattern, and this is a part of it.
                    continue
                pattern = generalize(occurrence, other)
                if pattern is None or (pattern := _cut(pattern, limits)) is None:
                    continue
                if len(pattern.replaced) > 1:
                    taken.add((occurrence.start, occurrence.end))
                if pattern not in seen:
                    seen.add(pattern)
                    document = document or matching.Document.of(syntax.document.text)
                    yield from _matches(syntax, names, document, pattern, occurrence, until)


def _renames(
    names: Names, occurrence: Occurrence, every: Iterable[Occurrence], limits: Limits, alone: bool,
    edits: Sequence[Edit],
) -> Iterator[Candidate]:
    """The other uses of a name that was replaced by another one."""
    assert occurrence.rename is not None
    old, new = occurrence.rename
    twins = {other.start: other for other in every if other.rename == (old, new)}
    support = len(twins)
    at = _name_range(names, occurrence, new)
    if at is None:
        return
    here = names.at(*at)
    # Once its definition is renamed, the old name has none, and what is left of it means the new one.
    resolved = names.resolve(old, *at) or _renamed(names, (old, new), at, edits)
    if here is None or resolved is None:
        return
    kind: Kind = resolved.role if resolved.role in ("parameter", "local", "definition", "import") else "member"  # type: ignore[assignment]
    # The definition must be gone, so that what is left has none.
    if names.defined(old, resolved):
        return
    if support < 2:
        single = f"{kind} use" if here.role == "use" else kind
        known = [name for name in names.all(new) if resolved.start <= name.start < resolved.end]
        if single not in limits.single or len(known) > 1 or (kind == "import" and not alone):
            return
    for name in names.uses(old, resolved):
        yield Candidate(name.start, name.end, new, kind, support)


def _renamed(names: Names, pair: tuple[str, str], at: tuple[int, int], edits: Sequence[Edit]) -> Resolved | None:
    """What a new name at a place resolves to, if its definition is in an edit that took the old name away."""
    old, new = pair
    resolved = names.resolve(new, *at)
    if resolved is None:
        return None
    taken = [edit for edit in edits if old in Tokens.of(edit.before).texts]
    defined = [name for name in names.all(new) if resolved.start <= name.start < resolved.end and name.role in DEFINING]
    found = any(edit.start <= name.start and name.end <= edit.end for edit in taken for name in defined)
    return resolved if found else None


def _name_range(names: Names, occurrence: Occurrence, new: str) -> tuple[int, int] | None:
    at = names.text.find(new, occurrence.start, occurrence.end)
    return None if at < 0 else (at, at + len(new))


def _cut(pattern: Pattern, limits: Limits) -> Pattern | None:
    """The pattern with as many atoms around it as a place must have; None if it says too little."""
    near = limits.insert if pattern.inserts else limits.rename if _is_rename(pattern) else limits.replace
    left = pattern.left[max(0, len(pattern.left) - near[0]) :]
    right = pattern.right[: near[1]]
    # A hole at the outer end says nothing.
    while left and isinstance(left[0], Hole):
        left = left[1:]
    while right and isinstance(right[-1], Hole):
        right = right[:-1]
    around: tuple[Atom, ...] = (*left, *right)
    old = [atom for part in pattern.replaced for atom in part.before]
    new = [atom for part in pattern.replaced for atom in part.after]
    if not _words((*old, *new)):
        return None
    if any(isinstance(atom, Hole) and atom not in (*around, *pattern.middle) for atom in new):
        return None
    if pattern.inserts:
        if "\n" in new or not _words(new):
            return None
        if not pattern.is_list_item and (_words(around) < limits.words or any(isinstance(atom, Hole) for atom in around)):
            return None
        if pattern.is_list_item and not _words(left):
            return None
    elif not _words(old) or any(isinstance(atom, Hole) and atom not in new for atom in old):
        # What differs on the old side must be on the new one, or else the edit is not one and the same.
        return None
    return Pattern(left, right, pattern.replaced, pattern.kept)


def _words(atoms: Iterable[Atom]) -> int:
    return sum(isinstance(atom, str) and is_word(atom) for atom in atoms)


def _matches(
    syntax: Syntax,
    names: Names,
    document: matching.Document,
    pattern: Pattern,
    occurrence: Occurrence,
    until: float,
) -> Iterator[Candidate]:
    kind: Kind = "argument" if pattern.is_list_item else "insert" if pattern.inserts else "replace"
    inside = syntax.text_around(occurrence.start + 1)
    renames = _is_rename(pattern)
    if inside == "comment" or (renames and inside):
        return
    role = None
    if renames:
        kind = "rename"
        here = _name_range(names, occurrence, str(pattern.replaced[0].after[0]))
        role = None if here is None else _role(names.at(*here))
    for place in matching.places(document, pattern, (len(pattern.left), len(pattern.right)), until):
        if renames and names.parsed and _role(names.at(place.start, place.end)) != role:
            continue
        if syntax.text_around(place.start + 1) == inside:
            yield Candidate(place.start, place.end, place.text, kind, 2, place.context)


def _is_rename(pattern: Pattern) -> bool:
    if len(pattern.replaced) != 1:
        return False
    match pattern.replaced[0].before, pattern.replaced[0].after:
        case (str(old),), (str(new),):
            return is_identifier(old) and is_identifier(new)
    return False


def _role(name: Name | None) -> str | None:
    """Whether a name is a member, a bare name, or neither, as in a string."""
    return None if name is None else "member" if name.role in ("member", "key") else "name"


def _keyed(syntax: Syntax, candidate: Candidate) -> Candidate:
    """The candidate without what its text and the document have in common, and with its key."""
    document = syntax.document
    edit = Edit(candidate.start, document.text[candidate.start : candidate.end], candidate.text).trimmed()
    line, column = document.position(edit.start)
    if candidate.kind in ("insert", "argument", "replace"):
        start, end, text = edit.start, edit.start + len(edit.before), edit.after
    else:
        start, end, text = candidate.start, candidate.end, candidate.text
    key = (document.line(line).strip(), column, candidate.text)
    return Candidate(start, end, text, candidate.kind, candidate.support, candidate.context, key)


def _is_done(text: str, one: Candidate) -> bool:
    """Whether the document has the candidate's text there already."""
    if one.start < one.end:
        return text[one.start : one.end] == one.text
    new = one.text.strip()
    return text[max(0, one.start - len(one.text) - 20) : one.start].rstrip().endswith(new) or text[one.end : one.end + len(one.text) + 20].lstrip().startswith(new)


def _rank(syntax: Syntax, one: Candidate, newest: int, scope: tuple[int, int]) -> tuple[bool, bool, int]:
    """Places in the scope of the newest edit come first, then those below it, the nearest first."""
    above = one.start < newest
    return not scope[0] <= one.start < scope[1], above, abs(one.start - newest)
