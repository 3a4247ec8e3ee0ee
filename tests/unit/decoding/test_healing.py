"""Token healing: which tokens may begin a middle, against brute force, and how likelihoods follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercury_lsp.engine.decoding.healing import Stem, TokenBytes, token_bytes
from mercury_lsp.engine.tokenizer import Tokenizer

TEXTS = [
    "    return value\n",
    "def serialization(self, x):\n        pass\n",
    "x = {'é': \"日本\", '😀': [1, 2]}\n\n\n    foo(bar)",
    "\t\tif (a && b) {\r\n\t\t\treturn;",
]


@pytest.fixture(scope="module")
def tokens(tokenizer: Tokenizer) -> TokenBytes:
    return TokenBytes(tokenizer)


def test_engines_on_one_vocabulary_share_its_bytes(tokenizer: Tokenizer) -> None:
    shared = token_bytes(tokenizer)
    assert token_bytes(tokenizer) is shared and shared.newlines == tokenizer.newlines()


def test_the_bytes_of_tokens_make_up_the_text(tokenizer: Tokenizer, tokens: TokenBytes) -> None:
    for text in TEXTS:
        assert b"".join(tokens.bytes_of[i] for i in tokenizer.encode(text)) == text.encode()
    assert all(not tokens.bytes_of[i] for i in tokenizer.added.values())


@pytest.mark.parametrize("left", [b"val", b" ret", b"\n    ", b"(", b" ", "é".encode(), b"\xa5", b"zzzqqq"])
def test_all_tokens_that_go_beyond_the_stem_are_allowed(tokens: TokenBytes, left: bytes) -> None:
    allowed = set(tokens.allowed(left).tolist())
    beyond = {i for i, text in enumerate(tokens.bytes_of) if text.startswith(left)}
    beginnings = {i for i, text in enumerate(tokens.bytes_of) if text and left.startswith(text)}
    assert beyond <= allowed <= beyond | beginnings
    assert allowed


@pytest.mark.parametrize("text", TEXTS)
def test_what_was_written_is_never_ruled_out(tokenizer: Tokenizer, tokens: TokenBytes, text: str) -> None:
    """At each cursor within a text its own tokens, from the stem on, are allowed one after the other."""
    for cursor in range(1, len(text) + 1):
        start = tokenizer.stem_start(text[:cursor])
        stem = Stem.of(tokens, text[start:cursor])
        for token in tokenizer.encode(text[start:]):
            if not stem.is_open:
                break
            assert token in tokens.allowed(stem.remaining), (text[start:cursor], tokens.bytes_of[token])
            following = stem.advance(token)
            assert following is not None
            stem = following
        assert not stem.is_open


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ab_ (\n\t1é日", min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_what_is_left_sums_to_one_and_keeps_its_proportions(tokens: TokenBytes, stem: str, seed: int) -> None:
    row = np.random.default_rng(seed).normal(size=(1, len(tokens.bytes_of))).astype(np.float32)
    given_stem = Stem.of(tokens, stem).restrict(row)
    kept = np.flatnonzero(np.isfinite(given_stem[0]))
    assert np.exp(given_stem[0][kept]).sum() == pytest.approx(1, rel=1e-4)
    assert sorted(kept.tolist()) == sorted(tokens.allowed(stem.encode()).tolist())
    assert np.ptp(given_stem[0][kept] - row[0][kept]) < 1e-3


def test_without_a_stem_nothing_is_copied(tokens: TokenBytes) -> None:
    row = np.zeros((2, len(tokens.bytes_of)), np.float32)
    assert Stem.of(tokens, "").restrict(row) is row


def test_rows_are_restricted_along_a_draft(tokenizer: Tokenizer, tokens: TokenBytes) -> None:
    text = "\n    return"
    path = tokenizer.encode(text)
    assert len(path) == 2
    scores = np.zeros((3, len(tokens.bytes_of)), np.float32)
    rows = Stem.of(tokens, "\n    re").restrict(scores, path)
    assert np.isfinite(rows[0]).sum() == len(tokens.allowed(b"\n    re"))
    assert np.isfinite(rows[1]).sum() == len(tokens.allowed(b" re"))
    assert np.isfinite(rows[2]).all()
    other = Stem.of(tokens, "\n    re").restrict(scores, tokenizer.encode("x y"))
    assert np.isfinite(other[1]).all()  # behind a token that contradicts, what follows is of no use anyway


def test_a_stem_that_no_score_allows_leaves_them_equal(tokens: TokenBytes) -> None:
    row = np.full((1, len(tokens.bytes_of)), -np.inf, np.float32)
    left = Stem.of(tokens, " re").restrict(row)[0]
    allowed = tokens.allowed(b" re")
    assert np.allclose(left[allowed], -np.log(len(allowed)))


def test_the_first_tokens_that_show_nothing_are_the_stems(tokenizer: Tokenizer, tokens: TokenBytes) -> None:
    stem = Stem.of(tokens, "\n    re")
    line = tokenizer.encode("\n    return x")
    assert stem.count_hidden(line) == 1  # "\n   ", and " return" shows "turn"
    assert Stem.of(tokens, "\n    return").count_hidden(line) == 2
    assert Stem.of(tokens, "\n    return").count_hidden(line[:1]) == 1
    assert Stem.of(tokens, "").count_hidden(line) == 0
    assert stem.after(line[:1]).remaining == b" re"
    assert not stem.after(line).is_open


def test_the_first_draft_leaves_the_last_blank_to_the_word(tokenizer: Tokenizer, tokens: TokenBytes) -> None:
    for stem in ("\n    ", "\n\n        ", "    "):
        draft = Stem.of(tokens, stem).draft()
        assert b"".join(tokens.bytes_of[i] for i in draft).decode() == stem[:-1]
    for stem in ("", "re", " re", "(", " "):
        assert Stem.of(tokens, stem).draft() == []


def test_where_a_block_may_come_the_middle_does_not_end_with_the_stem(
    tokenizer: Tokenizer, tokens: TokenBytes
) -> None:
    eot = tokenizer.specials.eot
    row = np.full((1, len(tokens.bytes_of)), np.log(0.2 / (len(tokens.bytes_of) - 1)), np.float32)
    row[0, eot] = np.log(0.8)
    (colon,) = tokenizer.encode("):")
    stem = Stem.of(tokens, "):", must_continue=True)
    complete = stem.advance(colon)
    assert complete is not None and complete.is_open and complete.count_hidden([colon]) == 0
    given_more = complete.restrict(row)[0]
    assert given_more[eot] == -np.inf
    assert np.exp(given_more[np.isfinite(given_more)]).sum() == pytest.approx(1, rel=1e-2)
    beyond = complete.advance(colon)
    assert beyond is not None and not beyond.is_open
    ending = Stem.of(tokens, "):").advance(colon)
    assert ending is not None and ending.restrict(row)[0, eot] == row[0, eot]
