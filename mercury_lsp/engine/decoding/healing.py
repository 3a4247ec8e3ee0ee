"""Restricts the first tokens of a middle to tokens that continue the typed word (token healing).

A prompt ends before the last pre-token, so that its last token is one that occurs in training data. The text between
there and the cursor, the *stem*, is generated again. Until the stem is complete, only tokens that continue the stem or
go beyond it are allowed, with their probabilities given the stem. Sources: Lundberg 2023 (guidance); Semenkin et al.
2024; Ren et al. 2024 (FIM-SE).
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

# Texts that may follow a stem, with which BPE may choose another first token than for the stem alone.
_CONTINUATIONS = ("", "a", "e", "s", "t", "n", "A", "1", "_", ".", "(", ")", "=", '"', " ", "\n")


@lru_cache(maxsize=1)
def token_bytes(vocabulary: Vocabulary) -> TokenBytes:
    """Return the token bytes of a vocabulary; cached for all engines, because computing them takes 0.2 s."""
    return TokenBytes(vocabulary)


class TokenBytes:
    """The bytes of each token of a vocabulary, and the tokens that continue given bytes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.newlines = vocabulary.newlines()
        """Ids of the tokens that contain a newline."""
        self.bytes_of = vocabulary.token_bytes()
        order = sorted(range(len(self.bytes_of)), key=self.bytes_of.__getitem__)
        # Special tokens have no bytes.
        first = bisect_left(order, b"\0", key=self.bytes_of.__getitem__)
        self._order = np.array(order[first:], np.int64)
        self.special_ids = np.array(order[:first], np.int64)
        """Ids of the special tokens."""
        self._sorted = [self.bytes_of[i] for i in order[first:]]
        self.allowed = lru_cache(maxsize=256)(self._allowed)

    def _allowed(self, remaining: bytes) -> NDArray[np.int64]:
        """Return the ids (k,) of the tokens that may come next while ``remaining`` is still to be generated.

        These are the tokens that begin with ``remaining``, and the proper prefixes of ``remaining`` with which BPE
        begins some text that starts with ``remaining``. Other prefixes occur in no encoded text.
        """
        low = bisect_left(self._sorted, remaining)
        high = bisect_left(self._sorted, remaining + b"\xff" * 8)
        beginnings = {i for i in self._first_tokens(remaining) if len(self.bytes_of[i]) < len(remaining)}
        return np.concatenate([self._order[low:high], np.array(sorted(beginnings), np.int64)])

    def _first_tokens(self, remaining: bytes) -> list[int]:
        try:
            text = remaining.decode()
        except UnicodeDecodeError:
            # `remaining` begins inside a character, after a token with the first bytes of that character.
            return [
                i for i in map(self._id, (remaining[:n] for n in range(1, len(remaining)))) if i is not None
            ]
        encoded = (self.vocabulary.encode(text + more) for more in _CONTINUATIONS)
        return [ids[0] for ids in encoded if remaining.startswith(self.bytes_of[ids[0]])]

    def _id(self, text: bytes) -> int | None:
        at = bisect_left(self._sorted, text)
        return int(self._order[at]) if at < len(self._sorted) and self._sorted[at] == text else None


@dataclass(frozen=True, slots=True)
class Stem:
    """The text with which a middle must begin; the bytes ``remaining`` are still to be generated.

    ``must_continue``: the middle must not end right after the stem. In training data a middle may end at the end of the
    cursor's line, but an empty suggestion does not help where a block may follow.
    """

    tokens: TokenBytes
    remaining: bytes
    must_continue: bool = False

    @classmethod
    def of(cls, tokens: TokenBytes, text: str, must_continue: bool = False) -> Stem:
        """Make the complete stem of a prompt from its text."""
        return cls(tokens, text.encode(errors="replace"), must_continue)

    @property
    def is_open(self) -> bool:
        """Whether the next token is restricted."""
        return bool(self.remaining) or self.must_continue

    def advance(self, token: int) -> Stem | None:
        """Return the stem after one token; None if the token contradicts the stem."""
        text = self.tokens.bytes_of[token]
        if text.startswith(self.remaining):
            return Stem(self.tokens, b"", self.must_continue and text == self.remaining)
        if text and self.remaining.startswith(text):
            return Stem(self.tokens, self.remaining[len(text) :], self.must_continue)
        return None

    def after(self, tokens: Sequence[int]) -> Stem:
        """Return the stem after ``tokens``, which must not contradict the stem."""
        stem = self
        for token in tokens:
            if not stem.is_open:
                break
            following = stem.advance(token)
            assert following is not None, "only tokens that the stem allows are committed"
            stem = following
        return stem

    def count_hidden(self, tokens: Sequence[int]) -> int:
        """Return how many tokens at the start lie entirely in the stem, and are hidden from the user."""
        if not self.remaining:
            return 0
        bytes_left = len(self.remaining)
        for i, token in enumerate(tokens):
            bytes_left -= len(self.tokens.bytes_of[token])
            if bytes_left < 0:
                return i
        return len(tokens)

    def restrict(self, scores: Scores, tokens: Sequence[int] = ()) -> Scores:
        """Return the log-probabilities given the stem, (n, V) in and out; a copy if the stem is open.

        Row i predicts the token after ``tokens[:i]``. Rows after a token that contradicts the stem, or after the last
        of the tokens, do not change.
        """
        if not self.is_open:
            return scores
        scores = scores.copy()
        stem: Stem | None = self
        for row, token in zip(scores, (*tokens, None), strict=False):
            if stem is None or not stem.is_open:
                break
            stem._restrict(row)
            stem = None if token is None else stem.advance(token)
        return scores

    def _restrict(self, row: NDArray[np.float32]) -> None:
        if not self.remaining:
            special_mass = min(float(np.exp(row[self.tokens.special_ids]).sum()), 0.999)
            row[self.tokens.special_ids] = -np.inf
            row -= np.float32(np.log1p(-special_mass))
            return
        ids = self.tokens.allowed(self.remaining)
        allowed = row[ids]
        peak = allowed.max(initial=-np.inf)
        # All allowed tokens are forbidden by the model, or too unlikely for fp32.
        if not np.isfinite(peak):
            allowed[:], peak = -np.log(len(ids)), 0.0
        row[:] = -np.inf
        row[ids] = allowed - peak - np.log(np.exp(allowed - peak).sum())

    def draft(self) -> list[int]:
        """Return the tokens with which the middle probably begins, whatever follows the stem; possibly none.

        A run of blanks is assumed to be followed by a word, whose token includes the last blank.
        """
        if not self.remaining:
            return []
        text = self.remaining.decode(errors="replace")
        ids = self.tokens.vocabulary.encode(text + "a" * text.isspace())[:-1]
        return ids if self.remaining.startswith(b"".join(self.tokens.bytes_of[i] for i in ids)) else []
