"""Restricts the first tokens of a middle to those that continue what was typed (token healing).

A prompt ends where a pre-token begins, so that it ends in a token that training data have, too. The text between there
and the cursor, the *stem*, is generated again: until it is complete, only tokens count that continue it or go beyond
it, and their probabilities are those given the stem. Sources: Lundberg 2023 (guidance); Semenkin et al. 2024; Ren et
al. 2024 (FIM-SE).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.tokenizer import Vocabulary

Scores = NDArray[np.float32]

# Behind a stem, what makes byte-pair encoding choose other first tokens than for the stem alone.
_CONTINUATIONS = ("", "a", "e", "s", "t", "n", "A", "1", "_", ".", "(", ")", "=", '"', " ", "\n")


@lru_cache(maxsize=1)
def token_bytes(vocabulary: Vocabulary) -> TokenBytes:
    """Those of a vocabulary, made once for all engines on it: it takes a fifth of a second."""
    return TokenBytes(vocabulary)


class TokenBytes:
    """The bytes of each token of a vocabulary, and which tokens continue given bytes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.newlines = vocabulary.newlines()
        """Ids of the tokens with a line's end in their text."""
        self.of = vocabulary.token_bytes()
        order = sorted(range(len(self.of)), key=self.of.__getitem__)
        first = bisect_left(order, b"\0", key=self.of.__getitem__)  # special tokens have no bytes
        self._order = np.array(order[first:], np.int64)
        self.without_text = np.array(order[:first], np.int64)
        """Ids of the special tokens."""
        self._sorted = [self.of[i] for i in order[first:]]
        self.allowed = lru_cache(maxsize=256)(self._allowed)

    def _allowed(self, left: bytes) -> NDArray[np.int64]:
        """Ids (k,) of the tokens that may come next while ``left`` is still to be generated.

        These are the tokens that begin with it, and of those that are a beginning of it the ones that byte-pair
        encoding gives to some text that goes on from it: any other would end in a token that no text has.
        """
        low = bisect_left(self._sorted, left)
        high = bisect_left(self._sorted, left + b"\xff" * 8)
        beginnings = {i for i in self._first_tokens(left) if len(self.of[i]) < len(left)}
        return np.concatenate([self._order[low:high], np.array(sorted(beginnings), np.int64)])

    def _first_tokens(self, left: bytes) -> list[int]:
        try:
            text = left.decode()
        except UnicodeDecodeError:  # the rest of a character, of which a token had the first bytes
            return [i for i in map(self._id, (left[:n] for n in range(1, len(left)))) if i is not None]
        encoded = (self.vocabulary.encode(text + more) for more in _CONTINUATIONS)
        return [ids[0] for ids in encoded if left.startswith(self.of[ids[0]])]

    def _id(self, text: bytes) -> int | None:
        at = bisect_left(self._sorted, text)
        return int(self._order[at]) if at < len(self._sorted) and self._sorted[at] == text else None


@dataclass(frozen=True, slots=True)
class Stem:
    """The bytes with which a middle begins, and of which ``left`` is still to be generated.

    ``goes_on``: more comes after it. Of a line that ends at the cursor, training has told the model that the middle may
    end there, too; but who is about to write a block is not helped by that.
    """

    tokens: TokenBytes
    left: bytes
    goes_on: bool = False

    @classmethod
    def of(cls, tokens: TokenBytes, text: str, goes_on: bool = False) -> Stem:
        """The whole stem of a prompt."""
        return cls(tokens, text.encode(errors="replace"), goes_on)

    @property
    def open(self) -> bool:
        """Whether the next token is restricted."""
        return bool(self.left) or self.goes_on

    def after(self, token: int) -> Stem | None:
        """What is left behind a token; None where the token contradicts it."""
        text = self.tokens.of[token]
        if text.startswith(self.left):
            return Stem(self.tokens, b"", self.goes_on and text == self.left)
        if text and self.left.startswith(text):
            return Stem(self.tokens, self.left[len(text) :], self.goes_on)
        return None

    def behind(self, path: Sequence[int]) -> Stem:
        """What is left behind tokens that do not contradict it."""
        stem = self
        for token in path:
            if not stem.open:
                break
            following = stem.after(token)
            assert following is not None, "only tokens that the stem allows are committed"
            stem = following
        return stem

    def hidden(self, path: Sequence[int]) -> int:
        """How many first tokens of a middle show nothing, being all part of the stem."""
        if not self.left:
            return 0
        left = len(self.left)
        for i, token in enumerate(path):
            left -= len(self.tokens.of[token])
            if left < 0:
                return i
        return len(path)

    def restrict(self, scores: Scores, path: Sequence[int] = ()) -> Scores:
        """Log-probabilities given the stem: (n, V) in and out; a copy where the stem is open.

        Row i foretells the token behind ``path[:i]``. Rows behind a token that contradicts the stem, or behind the end
        of the path, stay as they are.
        """
        if not self.open:
            return scores
        scores = scores.copy()
        stem: Stem | None = self
        for row, token in zip(scores, (*path, None), strict=False):
            if stem is None or not stem.open:
                break
            stem._restrict(row)
            stem = None if token is None else stem.after(token)
        return scores

    def _restrict(self, row: NDArray[np.float32]) -> None:
        if not self.left:
            ends = min(float(np.exp(row[self.tokens.without_text]).sum()), 0.999)
            row[self.tokens.without_text] = -np.inf
            row -= np.float32(np.log1p(-ends))
            return
        ids = self.tokens.allowed(self.left)
        kept = row[ids]
        peak = kept.max(initial=-np.inf)
        if not np.isfinite(peak):  # all are forbidden, or so unlikely that fp32 has no number for it
            kept[:], peak = -np.log(len(ids)), 0.0
        row[:] = -np.inf
        row[ids] = kept - peak - np.log(np.exp(kept - peak).sum())

    def draft(self) -> list[int]:
        """The tokens that are likely to begin the middle whatever comes behind the stem; maybe none.

        Behind a run of blanks mostly comes a word, which takes the last blank into its own token.
        """
        if not self.left:
            return []
        text = self.left.decode(errors="replace")
        ids = self.tokens.vocabulary.encode(text + "a" * text.isspace())[:-1]
        return ids if self.left.startswith(b"".join(self.tokens.of[i] for i in ids)) else []
