"""Tests of stop texts, and of the part of a streamed text that is final."""

from __future__ import annotations

import pytest

from mercury_lsp.http.local import committed_length, cut_at_stop


@pytest.mark.parametrize(
    ("text", "stops", "left"),
    [
        ("a\nb", ["\n"], "a"),
        ("a\nb", ["b", "\n"], "a"),
        ("ab", [], None),
        ("ab", ["c"], None),
        ("\nab", ["\n"], ""),
    ],
)
def test_a_text_ends_before_the_first_stop_text(text: str, stops: list[str], left: str | None) -> None:
    assert cut_at_stop(text, stops) == left


@pytest.mark.parametrize(
    ("text", "stops", "sure"),
    [
        ("abc", [], "abc"),
        ("abc\n", ["\n\n"], "abc"),
        ("abc\n ", ["\n\n"], "abc\n "),
        ("abcab", ["abd", "b!"], "abc"),
        ("é\ufffd", [], "é"),
        ("a\n\ufffd", ["\n\n"], "a"),
    ],
)
def test_text_that_may_become_a_stop_text_or_another_character_is_not_final(
    text: str, stops: list[str], sure: str
) -> None:
    assert text[: committed_length(text, stops)] == sure


def test_no_character_of_a_stop_text_is_ever_final() -> None:
    text, stops = "x = [1]\n\nclass A", ["\n\nclass", "]\n\n\n"]
    end = cut_at_stop(text, stops)
    assert end is not None
    for length in range(text.index("class") + 5):
        assert text[:length][: committed_length(text[:length], stops)] in end
