"""Tests of stems: a prompt ends where a pre-token begins, and the text after that is kept as the stem."""

from __future__ import annotations

import pytest
from support import ROOT

from mercury_lsp.context import prompt
from mercury_lsp.engine.tokenizer import STEM_CHARACTERS, Tokenizer

SMALL = ROOT / "mercury_lsp" / "weights" / "small"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SMALL)


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("def f(node):\n    return g(no", "no"),
        ("    return", " return"),  # the pre-token includes the space before the word
        ("x = ", " "),
        ("x = 1\n\n    ", "\n\n    "),
        ("x\t\t", "\t\t"),
        ("x  y", " y"),
        ("self.", "."),
        ("f(a, (", " ("),
        ("if a ==", " =="),
        ("x = [1, 23", " 23"),
        ("don't", "'t"),
        ("a é", " é"),
        ("naïve", "naïve"),
        ("日本", "日本"),
        ("x = 😀", " 😀"),
        ("wor\u00a0", "\u00a0"),
        ("x\r", "\r"),
        ("get_na", "na"),
        ("", ""),
        ("  ", "  "),
        ("x " * 500 + "y", " y"),
        ("a" * (STEM_CHARACTERS + 1), ""),  # too long to be completed
        ("x" + " " * (STEM_CHARACTERS + 1), ""),
    ],
)
def test_a_stem_begins_at_the_last_pre_token(tokenizer: Tokenizer, text: str, stem: str) -> None:
    assert text[tokenizer.stem_start(text) :] == stem


def test_typing_within_a_word_does_not_change_the_prompt(tokenizer: Tokenizer) -> None:
    before, word = "import os\n\n\ndef main():\n    print(os", ".getcwd"
    built = [
        prompt.build("a.py", before + word[:n], ")\n", tokenizer.count, stem_start=tokenizer.stem_start)
        for n in range(2, len(word) + 1)
    ]
    assert {one.prefix for one in built} == {before + "."}
    assert [one.stem for one in built] == ["g", "ge", "get", "getc", "getcw", "getcwd"]


def test_a_prompt_and_its_stem_are_the_text_before_the_cursor(tokenizer: Tokenizer) -> None:
    text = "def f(x):\r\n    if x:\r\n        return 1\r\n"
    for at in range(len(text)):
        built = prompt.build("", text[:at], text[at:], tokenizer.count, stem_start=tokenizer.stem_start)
        whole = text.replace("\r\n", "\n")
        assert whole.startswith(built.prefix + built.stem)
        assert built.prefix + built.stem + built.rest + built.following == whole


def test_there_is_no_stem_unless_it_is_requested() -> None:
    built = prompt.build("a.py", "import o", "", len)
    assert (built.prefix, built.stem) == ("import o", "")
