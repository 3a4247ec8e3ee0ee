"""The verdict on a suggestion: right, wrong, short or over, and the keys it saves."""

from __future__ import annotations

import pytest

from model.evaluation.heldout.verdict import Verdict, judge, right_so_far, spared_so_far


def verdict(hole: str, shown: str | None, replaced: str = "", fresh: bool = False) -> Verdict:
    return judge(hole, shown, replaced, shown or "", True, False, fresh)


def test_a_right_line_saves_all_its_keys_except_one() -> None:
    assert verdict("return total", "return total") == Verdict(True, True, "right", 12, 11, 11)


def test_trailing_whitespace_does_not_count() -> None:
    assert verdict("return total  \n", "return total").exact
    assert verdict("a = 1  \n\n    b", "a = 1\n\n    b ").exact
    assert not verdict("a = 1\n\n    b", "a = 1\n    b").exact
    assert not verdict("x", " x").exact


def test_a_suggestion_with_a_wrong_first_line_saves_keys_only_word_by_word() -> None:
    assert verdict("return total", "return other") == Verdict(False, False, "other", 12, 0, 5)
    assert verdict("return total", "return totals").spared == 0
    assert verdict("total", "totals").spared_by_word == 0
    assert verdict("foo(bar, baz)", "foo(bar, qux)").spared_by_word == len("foo(bar,") - 4


def test_no_suggestion_saves_no_keys() -> None:
    assert verdict("return total", None) == Verdict(False, False, "short", 12, 0, 0)


def test_lines_are_accepted_up_to_the_first_wrong_one() -> None:
    found = verdict("if a:\n        b()\n    c()", "if a:\n        b()\n    d()")
    assert not found.exact
    assert found.first_line
    # The editor inserts the indentation.
    assert found.keys == len("if a:\nb()\nc()")
    assert found.spared == len("if a:\nb()") - 2
    # `c` is wrong, and no text after it can be accepted.
    assert found.spared_by_word == found.spared
    assert verdict("if a:\n    b(x)", "if a:\n    b(y)").spared_by_word == 5 - 1 + len("\nb(") - 2


def test_indentation_costs_keys_only_after_code() -> None:
    assert verdict("    go()", "    go()", fresh=True).keys == 4
    assert verdict(" go()", " go()").keys == 5


def test_the_replaced_rest_of_the_line_is_part_of_the_text() -> None:
    found = verdict("value", "value)\n    done()", replaced=")")
    assert found.first_line and not found.exact
    assert verdict("value", "value)", replaced=")").exact
    assert verdict("value", "value)", replaced=")").spared == 5  # at most the keys of the hole


@pytest.mark.parametrize(
    ("said", "finished", "ending"),
    [
        ("a(b)", True, "right"),
        ("a(b) ", True, "right"),
        ("a(b)", False, "over"),
        ("a(b", True, "short"),
        ("", True, "short"),
        ("a(b))", True, "over"),
        ("a(b)\nc", True, "over"),
        ("x", True, "other"),
        ("a(c)", True, "other"),
    ],
)
def test_the_ending_is_right_short_over_or_other(said: str, finished: bool, ending: str) -> None:
    assert judge("a(b)", None, "", said, finished, False, False).ending == ending


def test_the_end_of_the_first_line_is_right_if_one_line_was_requested() -> None:
    hole = "if a:\n    b()"
    assert judge(hole, None, "", "if a:", True, True, False).ending == "right"
    assert judge(hole, None, "", "if a:", True, False, False).ending == "short"


@pytest.mark.parametrize(
    ("shown", "right", "spared"),
    [
        ("return", True, 5),  # cut between two words
        ("return va", False, 0),  # cut within a word
        ("return value\nx", True, 12),  # two lines, one key each
        ("return value\nz", True, 0),  # only the first line is right
        ("raise", False, 0),
        ("return value\nx = 1\nmore", True, 0),  # more lines than the hole has
    ],
)
def test_a_cut_suggestion_is_right_if_the_hole_begins_with_it(shown: str, right: bool, spared: int) -> None:
    hole = "return value\nx = 1"
    assert right_so_far(hole, shown, "") is right
    assert spared_so_far(hole, shown, "", False) == spared
