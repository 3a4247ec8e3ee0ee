"""What a suggestion is worth: right, wrong, short and over, and the keys it spares."""

from __future__ import annotations

import pytest

from model.evaluation.heldout.verdict import Verdict, judge, right_so_far, spared_so_far


def verdict(hole: str, shown: str | None, replaced: str = "", fresh: bool = False) -> Verdict:
    return judge(hole, shown, replaced, shown or "", True, False, fresh)


def test_a_right_line_spares_all_its_keys_but_one() -> None:
    assert verdict("return total", "return total") == Verdict(True, True, "right", 12, 11, 11)


def test_blanks_at_an_end_do_not_count() -> None:
    assert verdict("return total  \n", "return total").exact
    assert verdict("a = 1  \n\n    b", "a = 1\n\n    b ").exact
    assert not verdict("a = 1\n\n    b", "a = 1\n    b").exact
    assert not verdict("x", " x").exact


def test_what_is_wrong_anywhere_in_its_first_line_spares_none_but_by_word() -> None:
    assert verdict("return total", "return other") == Verdict(False, False, "other", 12, 0, 5)
    assert verdict("return total", "return totals").spared == 0
    assert verdict("total", "totals").spared_by_word == 0
    assert verdict("foo(bar, baz)", "foo(bar, qux)").spared_by_word == len("foo(bar,") - 4


def test_nothing_shown_spares_none() -> None:
    assert verdict("return total", None) == Verdict(False, False, "short", 12, 0, 0)


def test_lines_are_taken_while_they_are_right() -> None:
    found = verdict("if a:\n        b()\n    c()", "if a:\n        b()\n    d()")
    assert not found.exact
    assert found.first_line
    assert found.keys == len("if a:\nb()\nc()")  # the indentation is the editor's
    assert found.spared == len("if a:\nb()") - 2
    assert found.spared_by_word == found.spared  # `c` is wrong, and nothing behind it can be taken
    assert verdict("if a:\n    b(x)", "if a:\n    b(y)").spared_by_word == 5 - 1 + len("\nb(") - 2


def test_indentation_costs_keys_only_behind_code() -> None:
    assert verdict("    go()", "    go()", fresh=True).keys == 4
    assert verdict(" go()", " go()").keys == 5


def test_a_replaced_rest_of_the_line_belongs_to_the_text() -> None:
    found = verdict("value", "value)\n    done()", replaced=")")
    assert found.first_line and not found.exact
    assert verdict("value", "value)", replaced=")").exact
    assert verdict("value", "value)", replaced=")").spared == 5  # no more than the hole takes


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
def test_endings(said: str, finished: bool, ending: str) -> None:
    assert judge("a(b)", None, "", said, finished, False, False).ending == ending


def test_where_one_line_was_asked_for_its_end_is_the_right_one() -> None:
    hole = "if a:\n    b()"
    assert judge(hole, None, "", "if a:", True, True, False).ending == "right"
    assert judge(hole, None, "", "if a:", True, False, False).ending == "short"


@pytest.mark.parametrize(
    ("shown", "right", "spared"),
    [
        ("return", True, 5),  # cut off between two words
        ("return va", False, 0),  # within one
        ("return value\nx", True, 12),  # two lines at a key each
        ("return value\nz", True, 0),  # the first line is right, and not all of it
        ("raise", False, 0),
        ("return value\nx = 1\nmore", True, 0),  # more than there was
    ],
)
def test_what_was_cut_off_is_right_as_far_as_it_goes(shown: str, right: bool, spared: int) -> None:
    hole = "return value\nx = 1"
    assert right_so_far(hole, shown, "") is right
    assert spared_so_far(hole, shown, "", False) == spared
