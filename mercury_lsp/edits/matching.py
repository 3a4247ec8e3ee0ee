"""Finds the places where a pattern's old side matches, and writes its new side there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

from mercury_lsp.edits.patterns import MAX_BLOCK_TOKENS, Atom, Hole, Pattern, Replaced, depth_after
from mercury_lsp.edits.tokens import Tokens, is_word

MAX_ANCHORS = 400
# The number of no hole, under which the begin of the middle is kept.
_MIDDLE = -1
Filled = dict[int, tuple[int, int]]
"""The range of tokens that fills each hole."""


@dataclass(frozen=True, slots=True)
class Place:
    """Replaces the text from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its tokens, with the numbers of each token."""

    text: str
    tokens: Tokens
    numbers: dict[str, list[int]]

    @classmethod
    def of(cls, text: str) -> Document:
        """Cut a text."""
        tokens = Tokens.of(text)
        numbers: dict[str, list[int]] = {}
        for number, token in enumerate(tokens.texts):
            numbers.setdefault(token, []).append(number)
        return cls(text, tokens, numbers)


def places(document: Document, pattern: Pattern, until: float) -> Iterator[Place]:
    """The places of a pattern with all its atoms; none after a time."""
    left = pattern.left
    atoms = (*left, *pattern.middle, *pattern.right)
    anchor = _anchor(document, atoms)
    if anchor is None:
        return
    texts = document.tokens.texts
    for number in document.numbers.get(str(atoms[anchor]), ())[:MAX_ANCHORS]:
        if monotonic() > until:
            return
        first = number - anchor
        if first < 0:
            continue
        for filled, middle in _matches(texts, first, atoms, len(left)):
            place = _written(document, pattern, middle, filled)
            if place is not None:
                yield place
            break


def _anchor(document: Document, atoms: Sequence[Atom]) -> int | None:
    """The rarest word before the first block; None without a word there."""
    best: tuple[int, int] | None = None
    for index, atom in enumerate(atoms):
        if isinstance(atom, Hole):
            if atom.block:
                break
        elif is_word(atom):
            best = min(best or (1 << 30, 0), (len(document.numbers.get(atom, ())), index))
    return None if best is None else best[1]


def _matches(
    texts: Sequence[str],
    at: int,
    atoms: Sequence[Atom],
    middle: int,
    index: int = 0,
    filled: Filled | None = None,
) -> Iterator[tuple[Filled, int]]:
    """How the atoms from `index` on match the tokens from `at` on, and where the atom `middle` does."""
    filled = filled or {}
    begin = filled.get(_MIDDLE, (0, 0))[0]
    while index < len(atoms):
        if index == middle:
            begin = at
        atom = atoms[index]
        if isinstance(atom, Hole) and atom.block:
            depth = 0
            for end in range(at + 1, min(at + MAX_BLOCK_TOKENS, len(texts)) + 1):
                depth = depth_after(texts[end - 1], depth)
                if depth < 0:
                    return
                if depth == 0:
                    more = {**filled, atom.number: (at, end), _MIDDLE: (begin, begin)}
                    yield from _matches(texts, end, atoms, middle, index + 1, more)
            return
        if at >= len(texts):
            return
        if isinstance(atom, Hole):
            known = filled.get(atom.number)
            if not is_word(texts[at]) or (known is not None and texts[known[0]] != texts[at]):
                return
            filled = {**filled, atom.number: (at, at + 1)}
        elif texts[at] != atom:
            return
        at, index = at + 1, index + 1
    yield filled, at if index == middle else begin


def _written(document: Document, pattern: Pattern, at: int, filled: Filled) -> Place | None:
    """The pattern's new side where its middle begins at a token; None where a hole of it is not filled."""
    text = document.text
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
    """Start, end and new text of one part whose old tokens begin at a token."""
    tokens, text = document.tokens, document.text
    end = at + len(part.before)
    low = tokens.ends[at - 1] if at else 0
    high = tokens.starts[end] if end < len(tokens.starts) else len(text)
    # The blanks at both ends, which are one where nothing is replaced.
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
