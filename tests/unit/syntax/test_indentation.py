"""Lines, logical lines, and indentation."""

from __future__ import annotations

import re

import pytest

from mercury_lsp.syntax.indentation import (
    Blocks,
    bracket_depth,
    join_stripped,
    last_logical_line,
    restyle,
    width,
)


def test_width_counts_tab_stops() -> None:
    assert [width(line) for line in ("a", "  a", "\ta", "  \ta", "   ", "")] == [0, 2, 8, 8, 3, 0]


def test_a_logical_line_reaches_up_to_its_brackets() -> None:
    assert bracket_depth("f(a, [") == 2
    assert last_logical_line(["x = 1", "def f(a,", "      b", "      ):"]) == [
        "def f(a,",
        "      b",
        "      ):",
    ]
    assert last_logical_line(["a)", ")"]) == [")"]
    assert last_logical_line([]) == []
    assert join_stripped(["  def f(", "    a):  "]) == "def f( a):"


def opens(line: str) -> bool:
    return re.search(r"^(def|if|else)\b.*:$", line) is not None


@pytest.mark.parametrize(
    ("above", "fitting", "not_fitting"),
    [
        (["def f():", "    if x:"], ["        a", ""], ["    a", "a"]),
        (["def f():", "    if x:", "        a"], ["        b", "    b", "b"], ["          b", "      b"]),
        (["def f(a,", "      b):"], ["  a"], ["a"]),
        (
            ["        a"],
            ["        b", "    b", "b"],
            ["          b"],
        ),  # what is above these lines is not known
        (["if a:", "    b", ""], ["    c", "c"], ["  c"]),
        ([], ["a"], []),
    ],
)
def test_where_a_line_may_begin(above: list[str], fitting: list[str], not_fitting: list[str]) -> None:
    assert [line for line in [*fitting, *not_fitting] if Blocks(above, opens).fits(line)] == fitting


def test_blocks_follow_what_is_written() -> None:
    blocks = Blocks(["def f():"], opens)
    for line in ("    if g(a,", " b):", "        c \\", "  + d", "    e"):
        assert blocks.fits(line)
        blocks.step(line)
    assert not blocks.fits("        f")


@pytest.mark.parametrize(
    ("text", "document", "restyled_text"),
    [
        ("a\n    b\n        c", "x\n\ty\n", "a\n\tb\n\t\tc"),
        ("a\n  b\n    c\n      d", "x\n\ty\n", "a\n\tb\n\t\tc\n\t\t\td"),
        ("a\n\tb\n\t\tc", "x\n  y\n    z\n", "a\n  b\n    c"),
        ("a\n\tb", "x\n   y\n", "a\n   b"),
        ("a\n    b", "x\n  y\n", "a\n    b"),
        ("    a\n\t  b", "x\n\ty\n", "    a\n\t  b"),  # mixed
        ("    a", "x\n\ty\n", "    a"),
        ("a\n    b", "x\ny\n", "a\n    b"),
        ("a\n\tb", "/*\n * x\n */\n", "a\n\tb"),
        ("a\n\tb", "x\n y\n", "a\n    b"),
    ],
)
def test_tabs_and_spaces_as_the_document_has_them(text: str, document: str, restyled_text: str) -> None:
    assert restyle(text, document) == restyled_text
