"""What decoded tokens are to a user."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mercury_lsp.engine.decoding.result import complete_lines, draft_text, scored_tokens
from mercury_lsp.engine.tokenizer import Tokenizer


def test_lines_end_with_their_tokens(tokenizer: Tokenizer) -> None:
    text = "a = 1\nb = 2\nc"
    tokens = tokenizer.encode(text)
    logp = [-0.5] * len(tokens)
    lines = complete_lines(tokenizer.token_bytes(), tokenizer.newlines(), 0, tokens, logp)
    assert [text[: line.end] for line in lines] == ["a = 1", "a = 1\nb = 2"]
    assert [line.logp for line in lines] == [-0.5 * line.tokens for line in lines]


def test_a_draft_has_a_mark_for_each_undecided_token_and_nothing_behind_an_end(tokenizer: Tokenizer) -> None:
    one, two = tokenizer.encode("one two")
    eot = tokenizer.specials.eot
    assert draft_text(tokenizer, {eot}, [one], [None, None, two, eot, None, two]) == "one░░ two"


def test_tokens_have_their_ends_behind_the_stem(tokenizer: Tokenizer) -> None:
    text = "    return é日 + x"
    tokens, stem = tokenizer.encode(text), len("    re")
    logp = [-0.1 * (i + 1) for i in range(len(tokens) + 1)]
    scored = scored_tokens(tokenizer.token_bytes(), stem, len(text) - stem, tokens, logp)
    shown = text[stem:]
    begins = [0, *(one.end for one in scored)]
    parts = [shown[a:b] for a, b in pairwise(begins)]
    assert "".join(parts) == shown and parts[0] == "turn" and all(parts)
    assert sum(one.logp for one in scored) == pytest.approx(sum(logp[:-1]))
