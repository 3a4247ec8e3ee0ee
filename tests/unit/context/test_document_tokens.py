"""The open document's tokens, key by key: always those of the whole text."""

from __future__ import annotations

import random

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from mercury_lsp.context.memory import tokens as module
from mercury_lsp.context.memory.project import EMPTY
from mercury_lsp.context.memory.tokens import (
    CUT_PATTERNS,
    CUT_PROBE,
    MIN_PIECE_CHARACTERS,
    DocumentTokens,
    MemoryReader,
)
from mercury_lsp.engine.checkpoints.checkpoint import SHIPPED
from mercury_lsp.engine.tokenizer import Tokenizer, Vocabulary
from mercury_lsp.syntax.document import Document

BLANKS = "\n\n\n    \t \r\f\v\x1c\u00a0\u2028"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SHIPPED / "small")


def line(draw: random.Random) -> str:
    words = [
        "def",
        "x",
        "é",
        "日本",
        "'s",
        "};",
        "//",
        "1234",
        "don't",
        "==",
        "(",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ]
    blanks = "".join(draw.choices(BLANKS, k=draw.randint(1, 4)))
    return draw.choice(["", " ", "    "]) + draw.choice(words) + draw.choice(["", " ", ";"]) + blanks


@given(st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_both_sides_are_encoded_as_whole_texts_are(seed: int) -> None:
    tokenizer = Tokenizer.load(SHIPPED / "small") if not KEPT else KEPT[0]
    KEPT[:] = [tokenizer]
    draw = random.Random(seed)
    tokens = DocumentTokens(tokenizer)
    text = "".join(line(draw) for _ in range(150))
    at = len(text) // 2
    for _ in range(12):
        stem = draw.randint(0, min(5, at))
        before, after = tokens.encode_sides(text[:at], text[at:], stem)
        assert before.tolist() == tokenizer.encode(text[: at - stem])
        assert after.tolist() == tokenizer.encode(text[at:])
        change = draw.randint(0, 4)
        if change == 0:
            at = draw.randint(0, len(text))
        elif change == 1:
            end = min(len(text), at + draw.randint(0, 30))
            text = text[:at] + text[end:]
        elif change == 2:
            added = "".join(line(draw) for _ in range(20))
            text, at = text[:at] + added + text[at:], at + len(added)
        else:
            added = draw.choice(["a", " ", "\n", ".", "\n    "])
            text, at = text[:at] + added + text[at:], at + len(added)


KEPT: list[Tokenizer] = []


def test_a_key_encodes_only_what_is_near_it(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = DocumentTokens(tokenizer)
    text = "def function(argument):\n    return argument + 1\n\n\n" * 500
    at = len(text) // 2
    tokens.encode_sides(text[:at], text[at:], 0)
    encoded: list[int] = []
    encode = tokenizer.encode

    def counted(part: str) -> list[int]:
        encoded.append(len(part))
        return encode(part)

    monkeypatch.setattr(tokenizer, "encode", counted)
    monkeypatch.setattr(tokenizer, "encode_all", lambda texts: 1 / 0)
    tokens.encode_sides(text[:at] + "x", text[at:], 1)
    assert sum(encoded) < 10 * MIN_PIECE_CHARACTERS
    encoded.clear()
    tokens.encode_sides(
        text[: at // 2], text[at // 2 : at] + "x" + text[at:], 0
    )  # the cursor moves, nothing changes
    assert sum(encoded) < 3 * MIN_PIECE_CHARACTERS


def test_a_vocabulary_that_joins_marks_and_line_breaks_is_cut_after_them(tokenizer: Tokenizer) -> None:
    """As those of newer models are, in whose rule for pre-tokens a mark takes the line breaks after it along."""
    rule = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    joining = tokenizers.Tokenizer(models.BPE())
    joining.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(rule), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    joining.train_from_iterator([CUT_PROBE] * 50, trainer)
    vocabulary = Vocabulary(joining)
    tokens = DocumentTokens(vocabulary)
    assert DocumentTokens(tokenizer)._cut is CUT_PATTERNS[0] and tokens._cut is CUT_PATTERNS[1]
    text = CUT_PROBE * 20
    before, after = tokens.encode_sides(text[:700], text[700:], 2)
    assert before.tolist() == vocabulary.encode(text[:698]) and after.tolist() == vocabulary.encode(
        text[700:]
    )
    assert len(tokens._pieces) > 2


def test_a_huge_document_is_encoded_around_the_cursor(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENCODED_CHARACTERS", (3_000, 1_000))
    text = "x = 1\n" * 2_000
    tokens = DocumentTokens(tokenizer)
    for at in (6_000, 6_006, 6_500, 7_200, 100):
        before, after = tokens.encode_sides(text[:at], text[at:], 0)
        # Where the text before the cursor starts moves in strides, so that it mostly stands still.
        assert before.tolist() == tokenizer.encode(text[max(0, at - 3_000) // 1_000 * 1_000 : at])
        assert after.tolist() == tokenizer.encode(text[at : at + 1_000])


@pytest.mark.parametrize("eol", ["\n", "\r\n", "\r"])
def test_line_endings_are_those_of_the_prompt(tokenizer: Tokenizer, eol: str) -> None:
    text = "first = compute()\nsecond ="
    document = Document("uri", "a.py", "python", 1, (text + "\nthird\n").replace("\n", eol))
    offset = len(text.replace("\n", eol))
    memory = MemoryReader(tokenizer).for_document(EMPTY, document, offset, 0)
    assert memory.after[:2] == tokenizer.encode("\nthird\n")[:2]
    match = memory.find_match(tokenizer.encode(text))
    assert match.length and match.path == "a.py"


def test_a_cursor_inside_of_a_line_ending_stands_before_it(tokenizer: Tokenizer) -> None:
    document = Document("uri", "a.py", "python", 1, "x\r\ny")
    assert MemoryReader(tokenizer).for_document(EMPTY, document, 2, 0).after == tokenizer.encode("\ny")
