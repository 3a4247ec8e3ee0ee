"""Generalizes two occurrences of an edit into a pattern, by anti-unification of their tokens.

An occurrence is the edit of a line: replaced tokens, the kept tokens between them, and the tokens around the edit.
Where two occurrences differ, the pattern has a hole: a *word hole* stands for one word, and the same pair of words is
always the same hole; a *block hole* stands for kept tokens with balanced brackets. A pattern exists only if each word
of the new text is either the same in both occurrences, or a hole that the old text or its surroundings fill.
(Blue-Pencil, Miltner et al. 2019; Overwatch, Zhang et al. 2022.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.tokens import Hunk, Tokens, hunks, is_identifier, is_word

CONTEXT_TOKENS = 12
MAX_BLOCK_TOKENS = 40
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Hole:
    """A placeholder for one word, or for a block of kept tokens."""

    number: int
    block: bool = False


Atom = str | Hole


@dataclass(frozen=True, slots=True)
class Replaced:
    """Tokens and their replacement.

    `blanks`: the whitespace before each token of `after`, and after the last one. At both ends, None means that the
    edit did not change it, so that a place keeps its own whitespace, such as its indentation.
    """

    before: tuple[Atom, ...]
    after: tuple[Atom, ...]
    blanks: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An edit of tokens: `replaced` parts with `kept` tokens between them.

    `start`, `end`: the range of the new text. `left`, `right`: the tokens around it.
    """

    start: int
    end: int
    left: tuple[str, ...]
    right: tuple[str, ...]
    replaced: tuple[Replaced, ...]
    kept: tuple[tuple[str, ...], ...]

    @property
    def rename(self) -> tuple[str, str] | None:
        """The old and the new name, if one identifier replaced another; else None."""
        if len(self.replaced) != 1:
            return None
        match self.replaced[0].before, self.replaced[0].after:
            case (str(old),), (str(new),) if is_identifier(old) and is_identifier(new):
                return old, new
        return None


@dataclass(frozen=True, slots=True)
class Pattern:
    """The generalization of two occurrences. `left`, `right`: the atoms around them, in the order of the text."""

    left: tuple[Atom, ...]
    right: tuple[Atom, ...]
    replaced: tuple[Replaced, ...]
    kept: tuple[tuple[Atom, ...], ...]

    @property
    def middle(self) -> tuple[Atom, ...]:
        """The atoms of the edited range: the old atoms and the kept ones."""
        atoms: list[Atom] = []
        for number, part in enumerate(self.replaced):
            atoms += part.before
            if number < len(self.kept):
                atoms += self.kept[number]
        return tuple(atoms)

    @property
    def inserts(self) -> bool:
        """Whether the pattern only inserts tokens."""
        return not any(part.before for part in self.replaced)

    @property
    def is_list_item(self) -> bool:
        """Whether the pattern inserts an element of a list, such as an argument, with its comma."""
        first = self.replaced[0]
        return self.inserts and len(self.replaced) == 1 and "," in (first.after[:1] + first.after[-1:])


def occurrences(text: str, edit: Edit) -> list[Occurrence]:
    """Return the occurrences in an edit: all hunks of each line, then pairs of adjacent hunks, then single hunks.

    `text`: the text after the edit.
    """
    found = hunks(text, edit)
    groups: list[list[Hunk]] = []
    for hunk in found:
        if groups and "\n" not in text[groups[-1][-1].end : hunk.start]:
            groups[-1].append(hunk)
        else:
            groups.append([hunk])
    pairs = [list(pair) for group in groups if len(group) > 2 for pair in pairwise(group)]
    made = groups + pairs + [[hunk] for group in groups if len(group) > 1 for hunk in group]
    return [_occurrence(text, group) for group in made]


def _occurrence(text: str, group: Sequence[Hunk]) -> Occurrence:
    start, end = group[0].start, group[-1].end
    left = Tokens.of(text[text.rfind("\n", 0, max(0, start - 200)) + 1 : start]).texts[-MAX_BLOCK_TOKENS:]
    right = Tokens.of(text[end : end + 120]).texts[:CONTEXT_TOKENS]
    kept = [tuple(Tokens.of(text[one.end : other.start]).texts) for one, other in pairwise(group)]
    parts = []
    for hunk in group:
        parts.append(Replaced(hunk.before, hunk.after, _blanks(hunk)))
    return Occurrence(start, end, tuple(left), tuple(right), tuple(parts), tuple(kept))


def _blanks(hunk: Hunk) -> tuple[str | None, ...]:
    old, new = Tokens.of(hunk.before_text), Tokens.of(hunk.after_text)
    blanks: list[str | None] = [new.blank(hunk.after_text, number) for number in range(len(new.texts) + 1)]
    first, last = old.blank(hunk.before_text, 0), old.blank(hunk.before_text, len(old.texts))
    if len(blanks) == 1:
        return (None,) if blanks[0] in (first, last) else tuple(blanks)
    if blanks[0] == first:
        blanks[0] = None
    if blanks[-1] == last:
        blanks[-1] = None
    return tuple(blanks)


def generalize(one: Occurrence, other: Occurrence) -> Pattern | None:
    """Return the pattern of two occurrences, the newer one first; None if they have no common pattern."""
    if len(one.replaced) != len(other.replaced):
        return None
    holes: dict[tuple[str, str], Hole] = {}
    replaced, kept = [], []
    for number, (part, twin) in enumerate(zip(one.replaced, other.replaced, strict=True)):
        before = _unified(part.before, twin.before, holes, _new_hole)
        if before is None:
            return None
        replaced.append((part, twin, before))
        if number < len(one.kept):
            kept.append(_block(one.kept[number], other.kept[number], holes))
    left = _context(one.left[: -CONTEXT_TOKENS - 1 : -1], other.left[: -CONTEXT_TOKENS - 1 : -1], holes)[::-1]
    right = _context(one.right, other.right, holes)
    if len(replaced) == 1 and not one.replaced[0].before and (call := _call(one, other)) is not None:
        left, right = [*call, Hole(len(holes), True)], [")"]
    parts = []
    for part, twin, before in replaced:
        after = _unified(part.after, twin.after, holes, _known_hole)
        if after is None:
            return None
        parts.append(Replaced(before, after, part.blanks))
    return Pattern(tuple(left), tuple(right), tuple(parts), tuple(kept))


def _new_hole(pair: tuple[str, str], holes: dict[tuple[str, str], Hole]) -> Hole | None:
    return holes.setdefault(pair, Hole(len(holes)))


def _known_hole(pair: tuple[str, str], holes: dict[tuple[str, str], Hole]) -> Hole | None:
    return holes.get(pair)


def _unified(
    one: Sequence[Atom],
    other: Sequence[Atom],
    holes: dict[tuple[str, str], Hole],
    hole: Callable[[tuple[str, str], dict[tuple[str, str], Hole]], Hole | None],
) -> tuple[Atom, ...] | None:
    if len(one) != len(other):
        return None
    atoms: list[Atom] = []
    for a, b in zip(one, other, strict=True):
        assert isinstance(a, str)
        assert isinstance(b, str)
        if a == b:
            atoms.append(a)
        elif is_word(a) and is_word(b) and (found := hole((a, b), holes)) is not None:
            atoms.append(found)
        else:
            return None
    return tuple(atoms)


def _block(
    one: tuple[str, ...], other: tuple[str, ...], holes: dict[tuple[str, str], Hole]
) -> tuple[Atom, ...]:
    if one == other:
        return one
    if len(one) == len(other):
        trial = dict(holes)
        atoms = _unified(one, other, trial, _new_hole)
        # At other places, whole expressions may stand for single words such as arguments.
        if atoms is not None and any(isinstance(atom, str) for atom in atoms):
            holes.update(trial)
            return atoms
    # The space after the second text keeps the key different from that of a pair of words.
    return (holes.setdefault((" ".join(one), " ".join(other) + " "), Hole(len(holes), True)),)


def _call(one: Occurrence, other: Occurrence) -> tuple[str, ...] | None:
    """Return the called function and its bracket if both occurrences append an argument to calls of one function."""
    if one.right[:1] != (")",) or other.right[:1] != (")",) or one.replaced[0].after[0] != ",":
        return None
    called, twin = _called(one.left), _called(other.left)
    return (*called, "(") if called is not None and called == twin else None


def _called(left: Sequence[str]) -> tuple[str, ...] | None:
    """Return the word before the bracket that is open at the end of tokens, with the word or dot before it, if any."""
    depth = 0
    for number in range(len(left) - 1, 0, -1):
        if left[number] in _CLOSE:
            depth += 1
        elif left[number] in _OPEN:
            depth -= 1
            if depth < 0:
                if left[number] != "(" or not is_word(left[number - 1]):
                    return None
                marked = number > 1 and (is_word(left[number - 2]) or left[number - 2] == ".")
                return tuple(left[number - 1 - marked : number])
    return None


def _context(one: Sequence[str], other: Sequence[str], holes: dict[tuple[str, str], Hole]) -> list[Atom]:
    """Return the common atoms of two contexts, from the edit outwards."""
    atoms: list[Atom] = []
    for a, b in zip(one, other, strict=False):
        if a == b:
            atoms.append(a)
        elif is_word(a) and is_word(b):
            atoms.append(holes.setdefault((a, b), Hole(len(holes))))
        else:
            break
    return atoms


def depth_after(token: str, depth: int) -> int:
    """Return the depth of brackets after a token; negative after a surplus closing bracket or the end of a line."""
    if token == "\n":
        return -1
    return depth + (token in _OPEN) - (token in _CLOSE)
