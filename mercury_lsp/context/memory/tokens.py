"""Encodes open documents incrementally: only the changed part is encoded again after each key."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mercury_lsp.context.memory.project import EMPTY, DocumentMemory, ProjectMemory
from mercury_lsp.context.memory.segment import Ids, dtype_for
from mercury_lsp.engine.tokenizer import Vocabulary
from mercury_lsp.syntax.document import Document, plain

MIN_PIECE_CHARACTERS = 200
"""The least number of characters of a piece, which is the unit that is encoded again."""
ENCODED_CHARACTERS = (300_000, 100_000)
"""The numbers of characters before and after the cursor that are encoded; up to a third more before it."""
MAX_DOCUMENTS = 8
"""The number of documents whose pieces are kept."""

# Where an encoding can be cut, by the rule for pre-tokens: before the blanks that end a line, as in GPT-2, or after
# them, if they may belong to punctuation. Only ASCII blanks, on which all regular expression libraries agree.
CUT_PATTERNS = (re.compile(r"(?<!\s)(?=[ \t\r\f\v]*\n)"), re.compile(r"(?<=\n)(?=[ \t\r\f\v]*[^\s])"))
CUT_PROBE = "a = b;\n\n\n    c('d') \n\te();  \n \n}\n\n'''x'''\n  # 1\r\n  f{\n\n\n   g\n"


class DocumentTokens:
    """The tokens of the last encoded text of one document."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._dtype = dtype_for(vocabulary.size)
        self._cut = next((cut for cut in CUT_PATTERNS if self._is_safe_cut(cut)), None)
        self._text = ""
        # The starts of the pieces, and the text's length.
        self._starts: list[int] = [0]
        self._pieces: list[Ids] = []

    def encode_sides(self, before: str, after: str, stem: int) -> tuple[Ids, Ids]:
        r"""Return the ids of the text before the cursor without its last ``stem`` characters, and of the text after it.

        The line endings of the texts must be \n. Takes less than a millisecond after a change within a line.
        """
        skipped = max(0, len(before) - ENCODED_CHARACTERS[0]) // ENCODED_CHARACTERS[1] * ENCODED_CHARACTERS[1]
        before, after = before[skipped:], after[: ENCODED_CHARACTERS[1]]
        self._update(before + after)
        return self._ids_between(0, len(before) - stem), self._ids_between(len(before), len(self._text))

    def _update(self, text: str) -> None:
        old, starts = self._text, self._starts
        if text == old:
            return
        same = _common_length(old, text, False)
        tail = min(_common_length(old, text, True), min(len(old), len(text)) - same)
        # A cut also depends on the text before it and the blanks after it, so a neighbouring piece is encoded, too.
        first = max(0, bisect_right(starts, same) - 2)
        last = min(bisect_right(starts, len(old) - tail), len(starts) - 1)
        shift = len(text) - len(old)
        new = self._split(text, starts[first], starts[last] + shift)
        self._pieces[first:last] = self._encode([text[a:b] for a, b in pairwise(new)])
        self._starts = [*starts[:first], *new[:-1], *(at + shift for at in starts[last:])]
        self._text = text

    def _split(self, text: str, start: int, end: int) -> list[int]:
        """Return the starts of the pieces between two cuts, and the second cut."""
        starts = [start]
        if self._cut is not None:
            for found in self._cut.finditer(text, start + 1, end):
                if found.start() - starts[-1] >= MIN_PIECE_CHARACTERS and found.start() < end:
                    starts.append(found.start())
        return [*starts, end] if end > start else [start]

    def _ids_between(self, start: int, end: int) -> Ids:
        starts = self._starts
        first, last = bisect_left(starts, start), bisect_right(starts, end) - 1
        if first > last:
            return self._encode([self._text[start:end]])[0]
        head, foot = self._encode([self._text[start : starts[first]], self._text[starts[last] : end]])
        return np.concatenate([head, *self._pieces[first:last], foot])

    def _encode(self, texts: Sequence[str]) -> list[Ids]:
        if len(texts) < 8:
            return [np.array(self._vocabulary.encode(text), self._dtype) for text in texts]
        return [np.array(ids, self._dtype) for ids in self._vocabulary.encode_all(texts)]

    def _is_safe_cut(self, cut: re.Pattern[str]) -> bool:
        """Return whether the encodings of the pieces of `CUT_PROBE` make up its whole encoding."""
        encode = self._vocabulary.encode
        pieces = [piece for piece in cut.split(CUT_PROBE) if piece]
        return [token for piece in pieces for token in encode(piece)] == encode(CUT_PROBE)


class MemoryReader:
    """Looks up documents in the project memory, in the worker's thread, and keeps the tokens of the last documents."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._documents: dict[str, DocumentTokens] = {}

    def for_document(
        self, memory: ProjectMemory, document: Document, offset: int, stem: int
    ) -> DocumentMemory:
        """Return the memory for a document with the cursor at an offset; `stem`: the length of the prompt's stem.

        A memory of another vocabulary counts as empty.
        """
        before, after = document.text[:offset], document.text[offset:]
        if before.endswith("\r") and after.startswith("\n"):
            # As in the prompt, a cursor inside of a line ending counts as before it.
            before = before[:-1]
        tokens = self._documents.pop(document.uri, None) or DocumentTokens(self.vocabulary)
        self._documents[document.uri] = tokens
        if len(self._documents) > MAX_DOCUMENTS:
            del self._documents[next(iter(self._documents))]
        sides = tokens.encode_sides(plain(before), plain(after), stem)
        known = memory if memory.vocabulary is self.vocabulary else EMPTY
        return known.for_document(document.path, *sides)


def _common_length(one: str, other: str, at_end: bool) -> int:
    """Return the number of characters that two texts have in common at their start, or at their end."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if at_end:
            same = one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]
        else:
            same = one[low:middle] == other[low:middle]
        low, high = (middle, high) if same else (low, middle - 1)
    return low
