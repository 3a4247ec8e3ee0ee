"""Finds the places where the old side of a pattern matches, and fills in its new side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from mercury_lsp.edits.patterns import MAX_BLOCK_TOKENS, Atom, Hole, Pattern, Replaced, depth_after
from mercury_lsp.edits.tokens import Tokens, is_word

MAX_ANCHORS = 400
# The key of `Filled` for the start of the pattern's middle; no hole has this number.
_MIDDLE = -1
Filled = dict[int, tuple[int, int]]
"""The range of tokens that fills each hole, by its number."""


@dataclass(frozen=True, slots=True)
class Place:
    """A replacement of the text from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its tokens, and the indices of each token."""

    text: str
    tokens: Tokens
    numbers: dict[str, list[int]]

    @classmethod
    def of(cls, text: str) -> Document:
        """Tokenize a text."""
        tokens = Tokens.of(text)
        numbers: dict[str, list[int]] = {}
        for number, token in enumerate(tokens.texts):
            numbers.setdefault(token, []).append(number)
        return cls(text, tokens, numbers)


def find_places(document: Document, pattern: Pattern, deadline: float) -> Iterator[Place]:
    """Yield the places that match all atoms of a pattern, until the time `deadline`."""
    left = pattern.left
    atoms = (*left, *pattern.middle, *pattern.right)
    anchor = _anchor(document, atoms)
    if anchor is None:
        return
    matching = _Matching(document.tokens.texts, atoms, len(left), deadline)
    for number in document.numbers.get(str(atoms[anchor]), ())[:MAX_ANCHORS]:
        if number < anchor:
            continue
        filled = matching.find(number - anchor)
        if monotonic() > deadline:
            return
        place = None if filled is None else _fill_in(document, pattern, filled)
        if place is not None:
            yield place


def _anchor(document: Document, atoms: Sequence[Atom]) -> int | None:
    """Return the index of the rarest word before the first block hole; None without a word there."""
    best: tuple[int, int] | None = None
    for index, atom in enumerate(atoms):
        if isinstance(atom, Hole):
            if atom.block:
                break
        elif is_word(atom):
            best = min(best or (1 << 30, 0), (len(document.numbers.get(atom, ())), index))
    return None if best is None else best[1]


@dataclass(frozen=True, slots=True)
class _Matching:
    """Matches atoms with the tokens of a text; remembers failures, so that no state is tried twice."""

    texts: Sequence[str]
    atoms: Sequence[Atom]
    middle: int
    deadline: float
    failed: set[tuple[int, int, tuple[str, ...]]] = field(default_factory=set)

    def find(self, at: int, index: int = 0, known: Filled | None = None) -> Filled | None:
        """Match the atoms from `index` on with the tokens from `at` on; None if they do not match, or not in time."""
        if monotonic() > self.deadline:
            return None
        texts, filled = self.texts, dict(known or {})
        for number in range(index, len(self.atoms)):
            atom = self.atoms[number]
            if number == self.middle:
                filled[_MIDDLE] = at, at
            if isinstance(atom, Hole) and atom.block:
                return self._find_after_block(at, number, filled)
            if at >= len(texts):
                return None
            if isinstance(atom, Hole):
                low, _ = filled.setdefault(atom.number, (at, at + 1))
                if not is_word(texts[at]) or texts[low] != texts[at]:
                    return None
            elif texts[at] != atom:
                return None
            at += 1
        filled.setdefault(_MIDDLE, (at, at))
        return filled

    def _find_after_block(self, at: int, index: int, known: Filled) -> Filled | None:
        later = {atom.number for atom in self.atoms[index + 1 :] if isinstance(atom, Hole) and not atom.block}
        # The outcome depends only on the place and on the words of holes that occur again later.
        state = index, at, tuple(self.texts[known[number][0]] for number in sorted(later & known.keys()))
        if state in self.failed:
            return None
        block, depth = self.atoms[index], 0
        assert isinstance(block, Hole)
        for end in range(at + 1, min(at + MAX_BLOCK_TOKENS, len(self.texts)) + 1):
            depth = depth_after(self.texts[end - 1], depth)
            if depth < 0:
                break
            if depth == 0:
                found = self.find(end, index + 1, {**known, block.number: (at, end)})
                if found is not None:
                    return found
        self.failed.add(state)
        return None


def _fill_in(document: Document, pattern: Pattern, filled: Filled) -> Place | None:
    """Return the pattern's new side with its holes filled in; None if one of them is not filled."""
    text, (at, _) = document.text, filled[_MIDDLE]
    pieces: list[str] = []
    begin = cursor = None
    for number, part in enumerate(pattern.replaced):
        low, high, new = _replacement(document, part, at, filled)
        if new is None:
            return None
        if cursor is None:
            begin = low
        else:
            pieces.append(text[cursor:low])
        pieces.append(new)
        cursor = high
        at += len(part.before)
        if number < len(pattern.kept):
            for atom in pattern.kept[number]:
                at = filled[atom.number][1] if isinstance(atom, Hole) and atom.block else at + 1
    assert begin is not None
    assert cursor is not None
    return Place(begin, cursor, "".join(pieces))


def _replacement(document: Document, part: Replaced, at: int, filled: Filled) -> tuple[int, int, str | None]:
    """Return start, end and new text of one part whose old tokens begin at the token `at`.

    The new text is None if a hole of it is not filled.
    """
    tokens, text = document.tokens, document.text
    end = at + len(part.before)
    low = tokens.ends[at - 1] if at else 0
    high = tokens.starts[end] if end < len(tokens.starts) else len(text)
    # The blanks at both ends, which are the same if no token is replaced.
    first = text[low : tokens.starts[at]] if part.before else text[low:high]
    last = text[tokens.ends[end - 1] : high] if part.before else first
    if not part.after:
        blank = part.blanks[0]
        return low, high, first if blank is None else blank
    new: list[str] = []
    for number, atom in enumerate(part.after):
        blank = part.blanks[number]
        if isinstance(atom, Hole):
            span = filled.get(atom.number)
            if span is None:
                return 0, 0, None
            atom = text[tokens.starts[span[0]] : tokens.ends[span[1] - 1]]
        new += [first if blank is None else blank, atom]
    new.append(last if part.blanks[-1] is None else part.blanks[-1])
    return low, high, "".join(new)
