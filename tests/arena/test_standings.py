"""Standings computed from ballots, checked against manual counts."""

from __future__ import annotations

import pytest
from support.arena_players import ballot, side

from mercury_lsp.arena.ratings import ANCHOR_RATING
from mercury_lsp.arena.standings import compute_standings, contestant_ids

IDS = ["small@aa", "mini@bb"]
A = side(IDS[0], ms=20, exact=True, share=1.0, passes=2, tokens=6)
B = side(IDS[1], ms=10, share=0.5, passes=3, tokens=3)
BALLOTS = [
    ballot(A, B, "1", "p0"),
    ballot(B, A, "2", "p1"),
    ballot(B, A, "1", "p2"),
    ballot(A, B, "tie", "p3"),
    ballot(A, B, "neither", "p4"),
    ballot(A, B, "same", "p5"),
    ballot(A, B, "skip", "p6"),
]


def test_standings_match_manual_counts() -> None:
    found = compute_standings(BALLOTS, IDS)
    counts = ("places", "comparisons", "same", "neither", "skipped")
    assert [found[name] for name in counts] == [7, 7, 1, 1, 1]
    small, mini = found["contestants"]["small"], found["contestants"]["mini"]
    assert (small["wins"], small["losses"], small["ties"], small["win_rate"]) == (2, 1, 3, 0.5833)
    assert (mini["wins"], mini["losses"], mini["ties"], mini["win_rate"]) == (1, 2, 3, 0.4167)
    assert small["rating"] == ANCHOR_RATING and small["interval"] == [ANCHOR_RATING, ANCHOR_RATING]
    assert mini["rating"] < ANCHOR_RATING and mini["interval"][0] < mini["rating"] < mini["interval"][1]
    assert (small["exact"], small["shared"], small["ms"], small["tokens_per_pass"]) == (
        1,
        1,
        {"p50": 20, "p95": 20},
        3,
    )
    assert (mini["exact"], mini["shared"], mini["tokens_per_pass"], mini["n"]) == (0, 0.5, 1, 7)
    (pair,) = found["pairs"]
    assert (pair["one"], pair["two"], pair["wins"], pair["losses"], pair["same"]) == (
        "small",
        "mini",
        2,
        1,
        1,
    )
    assert found["shown_first"]["chosen"] == 3 and found["shown_first"]["share"] == 0.6667


def test_the_order_of_the_answers_changes_no_result() -> None:
    turned = {"1": "2", "2": "1"}
    other = [ballot(b.two, b.one, turned.get(b.choice, b.choice), b.place) for b in BALLOTS]
    one, two = compute_standings(BALLOTS, IDS), compute_standings(other, IDS)
    assert one["contestants"] == two["contestants"] and one["pairs"] == two["pairs"]
    assert one["shown_first"] != two["shown_first"]


def test_only_equal_answers_give_equal_ratings() -> None:
    found = compute_standings([ballot(A, B, "same", f"p{i}") for i in range(9)], IDS)
    assert [own["rating"] for own in found["contestants"].values()] == [ANCHOR_RATING, ANCHOR_RATING]
    assert found["contestants"]["mini"]["interval"] == [ANCHOR_RATING, ANCHOR_RATING]
    assert found["shown_first"] is None


def test_an_answer_compared_with_several_others_counts_once() -> None:
    c = side("third")
    made = [
        ballot(A, B, "1", "p", "truth"),
        ballot(A, c, "1", "p", "truth"),
        ballot(B, c, "tie", "p", "truth"),
    ]
    found = compute_standings(made, [*IDS, "third"])
    assert [own["n"] for own in found["contestants"].values()] == [1, 1, 1]
    assert found["places"] == 1 and found["comparisons"] == 3 and len(found["pairs"]) == 3
    assert found["shown_first"] is None


def test_names_include_the_fingerprint_only_if_they_are_ambiguous() -> None:
    other = side("small@cc")
    found = compute_standings([ballot(A, other, "1")], [A.id, other.id])
    assert list(found["contestants"]) == ["small@aa", "small@cc"]


def test_without_ballots_there_are_no_figures() -> None:
    found = compute_standings([], IDS)
    assert found["places"] == 0 and found["pairs"] == []
    mini = found["contestants"]["mini"]
    assert (mini["rating"], mini["interval"], mini["win_rate"], mini["shown"]) == (
        ANCHOR_RATING,
        None,
        None,
        None,
    )


def test_contestants_are_listed_by_first_appearance_and_others_are_ignored() -> None:
    made = [*BALLOTS, ballot(side("x"), side("y"), "1", "p9")]
    assert contestant_ids(made) == [*IDS, "x", "y"]
    assert compute_standings(made, IDS)["comparisons"] == pytest.approx(len(BALLOTS))
