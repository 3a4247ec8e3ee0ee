"""Tests of the prompt's windows: within budget, whole lines, and stable while the user types."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercury_lsp.context import prompt
from mercury_lsp.engine.tokenizer import Snippet

LINES = [f"    value_{i} = compute(first_{i}, second={i})" for i in range(400)]
FILE = "\n".join(LINES) + "\n"


def count(text: str) -> int:
    """Count tokens like a tokenizer: words, single digits and punctuation marks, and runs of whitespace."""
    return len(re.findall(r"[A-Za-z]+|\d|\s+|.", text))


def split_at(line: int, column: int, text: str = FILE) -> tuple[str, str]:
    lines = text.splitlines(keepends=True)
    offset = sum(map(len, lines[:line])) + column
    return text[:offset], text[offset:]


def test_a_small_file_is_shown_whole() -> None:
    built = prompt.build(
        "a.py", "import os\nos.pa", "th.join()\nprint()\n", count, related=[Snippet("b.py", "b")]
    )
    assert (built.path, built.prefix, built.rest, built.following) == (
        "a.py",
        "import os\nos.pa",
        "th.join()",
        "\nprint()\n",
    )
    assert built.related == (Snippet("b.py", "b"),)


def test_an_empty_document_gives_an_empty_prompt() -> None:
    built = prompt.build("", "", "", count)
    assert (built.prefix, built.rest, built.following) == ("", "", "")


@pytest.mark.parametrize("eol", ["\r\n", "\r"])
def test_line_endings_become_newlines(eol: str) -> None:
    built = prompt.build("a", f"a{eol}b{eol}c", f"d{eol}e{eol}", count)
    assert (built.prefix, built.rest, built.following) == ("a\nb\nc", "d", "\ne\n")


def test_a_cursor_inside_a_line_ending_counts_as_before_it() -> None:
    built = prompt.build("a", "a\r", "\nb", count)
    assert (built.prefix, built.rest, built.following) == ("a", "", "\nb")


def test_other_separators_are_not_line_endings() -> None:
    built = prompt.build("a", "a\x0cb\u2028c", "d\x85e\x0bf\ng", count)
    assert (built.prefix, built.rest, built.following) == ("a\x0cb\u2028c", "d\x85e\x0bf", "\ng")


def test_lone_surrogates_are_replaced() -> None:
    built = prompt.build("a", "s = '\ud800", "'\n\udfff", count)
    assert (built.prefix, built.rest, built.following) == ("s = '?", "'", "\n?")


def test_windows_are_whole_lines_and_use_their_budget() -> None:
    for line in range(100, 300):
        before, after = split_at(line, 11)
        built = prompt.build("a.py", before, after, count)
        assert before.endswith("\n" + built.prefix)
        assert 512 / 3 <= count(built.prefix) <= 512
        assert after.startswith(built.rest + built.following)
        assert built.following.endswith("\n") and built.following.startswith("\n")
        assert 64 <= count(built.following) <= 192


def test_the_start_of_the_prefix_moves_rarely_while_typing() -> None:
    """Type 60 lines character by character into the middle of a file."""
    before, after = split_at(200, 0)
    typed = "\n".join(f"    result_{i} = other(value_{i})  # a note" for i in range(60))
    starts, followings = [], set()
    for i in range(len(typed)):
        built = prompt.build("a.py", before + typed[:i], "\n" + after, count)
        starts.append(len(before) + i - len(built.prefix))
        followings.add(built.following)
    moves = sum(a != b for a, b in pairwise(starts))
    assert starts == sorted(starts)  # the start never moves back
    assert moves <= count(typed) / 150
    assert len(followings) == 1


def test_the_window_below_does_not_depend_on_the_line_of_the_cursor() -> None:
    before, after = split_at(200, 0)
    _, _, below = after.partition("\n")
    one = prompt.build("a.py", before, "short\n" + below, count)
    other = prompt.build("a.py", before + "x = call(", ")\n" + below, count)
    assert one.following == other.following


def test_the_start_of_the_prefix_is_stable_in_an_overlong_line() -> None:
    long = "var a=[" + ",".join(str(i) for i in range(5000))
    starts = {len(long) + i - len(prompt.build("a.js", long + "x" * i, "", count).prefix) for i in range(200)}
    assert len(starts) <= 2


def test_an_overlong_line_above_is_left_out() -> None:
    built = prompt.build("a.js", "x" * 9000 + " y" * 900 + "\nlet a = 1\nlet b = ", "", count)
    assert built.prefix == "let a = 1\nlet b = "


def test_the_end_of_an_overlong_line_is_in_the_window_of_the_next_line() -> None:
    built = prompt.build("a.js", "y " * 9000 + "\n", "\n" + "z " * 9000, count)
    assert built.prefix.endswith("y \n") and 170 <= count(built.prefix) <= 512
    assert built.following.startswith("\nz ") and 64 <= count(built.following) <= 192


def test_the_rest_of_the_line_is_limited() -> None:
    built = prompt.build("a.js", "", "z " * 9000 + "\nnext", count)
    assert built.rest.startswith("z z") and 21 <= count(built.rest) <= prompt.REST_TOKENS
    assert built.following == "\nnext"


def test_tokens_are_counted_only_near_the_cursor() -> None:
    counted = 0

    def meter(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return count(text)

    built = prompt.build("a.py", FILE * 50, FILE * 50, meter)
    assert counted < 6 * len(built.prefix + built.following)


pieces = st.lists(
    st.sampled_from(
        ["a", "word ", "\n", "\n\n", "\r\n", "    ", "\r", "é", "𐐷", "x" * 40, "f(1, 2)", "y " * 300]
    ),
    max_size=40,
).map("".join)


@settings(deadline=None, max_examples=150)
@given(pieces, pieces, st.integers(0, 80), st.integers(0, 60))
def test_windows_are_within_budget_and_adjacent_to_the_cursor(
    before: str, after: str, above: int, below: int
) -> None:
    built = prompt.build("p", before, after, count, prefix_tokens=above, following_tokens=below)
    assert count(built.prefix) <= above
    assert count(built.following) <= below
    assert count(built.rest) <= prompt.REST_TOKENS
    if before.endswith("\r") and after.startswith("\n"):
        before = before[:-1]
        after = "\r" + after
    before, after = (t.replace("\r\n", "\n").replace("\r", "\n") for t in (before, after))
    assert before.endswith(built.prefix)
    rest, newline, following = after.partition("\n")
    assert rest.startswith(built.rest)
    assert (newline + following).startswith(built.following)
    assert built == prompt.build("p", before, after, count, prefix_tokens=above, following_tokens=below)
