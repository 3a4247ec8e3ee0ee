"""The comparison of two answers with the text that the user wrote."""

from __future__ import annotations

import pytest

from mercury_lsp.arena.contestants import ContestantAnswer
from mercury_lsp.arena.edits import Edit
from mercury_lsp.arena.matches import TIE_SHARE, Agreement, look_alike, measure_agreement, score_pair

EDIT = Edit("a.py", "python", "total = ", ")\nprint(total)\n", "width * height")
START = len(EDIT.prefix)


def answer(text: str, end: int = START) -> ContestantAnswer:
    return ContestantAnswer(text, end, 1.0, 1, 1, True)


@pytest.mark.parametrize(
    ("text", "exact", "share"),
    [
        ("width * height", True, 1.0),
        ("width * height  ", True, 1.0),
        ("width * height\nprint(1)", True, 1.0),
        ("width * depth", False, 8 / 14),
        ("width * height + 1", False, 1.0),
        ("height", False, 0.0),
        ("", False, 0.0),
    ],
)
def test_agreement_is_exactness_and_the_share_of_the_text(text: str, exact: bool, share: float) -> None:
    assert measure_agreement(EDIT, answer(text)) == Agreement(exact, pytest.approx(share))  # type: ignore[arg-type]


def test_text_that_an_answer_replaces_is_part_of_the_comparison() -> None:
    assert measure_agreement(EDIT, answer("width * height)", START + 1)).exact
    assert not measure_agreement(EDIT, answer("width * height", START + 1)).exact


def test_all_lines_of_a_block_are_compared() -> None:
    block = Edit("a.py", "python", "", "\r\n", "a = 1\r\nb = 2")
    assert measure_agreement(block, answer("a = 1\r\nb = 2", 0)) == Agreement(True, 1.0)
    assert measure_agreement(block, answer("a = 1\nb = 2", 0)).exact
    assert measure_agreement(block, answer("a = 1", 0)) == Agreement(False, 5 / 11)


@pytest.mark.parametrize(
    ("one", "two", "wins"),
    [
        (Agreement(True, 1.0), Agreement(False, 1.0), 1.0),
        (Agreement(False, 0.9), Agreement(True, 1.0), 0.0),
        (Agreement(True, 1.0), Agreement(True, 1.0), 0.5),
        (Agreement(False, 0.5), Agreement(False, 0.3), 1.0),
        (Agreement(False, 0.3), Agreement(False, 0.5), 0.0),
        (Agreement(False, 0.5), Agreement(False, 0.5 - TIE_SHARE / 2), 0.5),
        (Agreement(False, 0.0), Agreement(False, 0.0), 0.5),
    ],
)
def test_an_exact_answer_wins_and_similar_shares_tie(one: Agreement, two: Agreement, wins: float) -> None:
    assert score_pair(one, two) == wins
    assert score_pair(two, one) == 1 - wins


def test_answers_that_look_the_same_are_alike() -> None:
    assert look_alike(answer("a = 1  "), answer("a = 1"))
    assert look_alike(answer("a\r\nb"), answer("a\nb"))
    assert look_alike(answer("", START + 1), answer(""))
    assert not look_alike(answer("a"), answer("a", START + 1))
    assert not look_alike(answer(" a"), answer("a"))
