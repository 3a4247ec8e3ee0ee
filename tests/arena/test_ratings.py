"""Ratings, checked against closed forms, and their intervals, checked by simulation."""

from __future__ import annotations

from math import exp, log, log10
from random import Random

import pytest

from mercury_lsp.arena.ratings import (
    ANCHOR_RATING,
    RATING_SCALE,
    Comparison,
    bootstrap_intervals,
    count_wins,
    fit_ratings,
    fit_strengths,
    percentiles,
    wilson_interval,
)


def test_a_tie_is_half_a_win_for_each() -> None:
    table = count_wins([Comparison(0, 1, 1.0), Comparison(1, 0, 0.5), Comparison(1, 0, 0.0)], 2)
    assert table == [[0, 2.5], [0.5, 0]]


@pytest.mark.parametrize(("won", "lost"), [(3, 1), (50, 50), (1, 99)])
def test_the_difference_of_two_contestants_is_their_log_odds(won: int, lost: int) -> None:
    p = fit_strengths([[0, won], [lost, 0]], prior=0)
    assert log(p[0] / p[1]) == pytest.approx(log(won / lost), abs=1e-6)
    anchored = fit_ratings([[0, won], [lost, 0]], prior=0)
    assert anchored == pytest.approx(
        [ANCHOR_RATING, ANCHOR_RATING + RATING_SCALE * log10(lost / won)], abs=1e-4
    )


def test_a_contestant_that_always_wins_has_a_finite_rating() -> None:
    """The prior adds half a win to each, so that 10 to 0 counts as 10.5 to 0.5."""
    p = fit_strengths([[0, 10], [0, 0]])
    assert p[0] / p[1] == pytest.approx(21, rel=1e-6)
    assert fit_ratings([[0, 0], [0, 0]]) == [ANCHOR_RATING, ANCHOR_RATING]


def test_expected_results_of_three_contestants_give_their_true_strengths() -> None:
    true = [1.0, 2.5, 0.3]
    table = [[100 * a / (a + b) if a is not b else 0.0 for b in true] for a in true]
    found = fit_strengths(table, prior=0)
    assert [one / found[0] for one in found] == pytest.approx(true, rel=1e-6)


def test_the_fitted_strengths_maximize_the_likelihood() -> None:
    """For inconsistent results, a small change of any strength lowers the likelihood."""
    table = [[0, 7, 2, 1], [4, 0, 6, 3], [9, 1, 0, 5], [2, 2, 8, 0]]

    def likelihood(p: list[float]) -> float:
        return sum(table[i][j] * log(p[i] / (p[i] + p[j])) for i in range(4) for j in range(4) if i != j)

    found = fit_strengths(table, prior=0)
    for i in range(4):
        for step in (-0.01, 0.01):
            moved = [strength * exp(step if i == j else 0) for j, strength in enumerate(found)]
            assert likelihood(moved) < likelihood(found)


def test_contestants_that_never_met_are_compared_through_a_third() -> None:
    found = fit_ratings([[0, 30, 0], [10, 0, 30], [0, 10, 0]], prior=0.001)
    assert found[2] < found[1] < found[0]
    assert found[0] - found[2] == pytest.approx(2 * RATING_SCALE * log10(3), rel=0.01)


def test_intervals_contain_the_truth_about_as_often_as_they_should() -> None:
    """Simulate 40 experiments of 60 places each, with true odds of two to one."""
    true = ANCHOR_RATING + RATING_SCALE * log10(2)
    random, held = Random(5), 0
    for seed in range(40):
        places = [[Comparison(1, 0, float(random.random() < 2 / 3))] for _ in range(60)]
        anchor, (low, high) = bootstrap_intervals(places, 2, seed, 100)
        assert anchor == (ANCHOR_RATING, ANCHOR_RATING)
        held += low <= true <= high
    assert 34 <= held < 40


def test_intervals_depend_only_on_the_seed_and_shrink_with_more_places() -> None:
    random = Random(1)
    places = [[Comparison(0, 1, random.choice((0.0, 0.5, 1.0)))] for _ in range(200)]
    few, many = bootstrap_intervals(places[:20], 2, 3, 200)[1], bootstrap_intervals(places, 2, 3, 200)[1]
    assert many == bootstrap_intervals(places, 2, 3, 200)[1]
    assert many != bootstrap_intervals(places, 2, 4, 200)[1]
    assert many[1] - many[0] < few[1] - few[0]


def test_the_bootstrap_resamples_whole_places() -> None:
    """Ten copies of a place contain no more information than one."""
    single = [[Comparison(0, 1, float(i % 2))] for i in range(20)]
    tenfold = [place * 10 for place in single]
    (_, (low, high)), (_, (low10, high10)) = (
        bootstrap_intervals(single, 2, 0, 300),
        bootstrap_intervals(tenfold, 2, 0, 300),
    )
    assert high10 - low10 >= high - low


def test_the_wilson_interval_matches_known_values() -> None:
    """The interval for 8 of 10 is known from textbooks."""
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 0) == (0, 1)
    assert wilson_interval(0, 10)[0] == 0 and wilson_interval(10, 10)[1] == pytest.approx(1)
    assert percentiles(list(range(1000))) == (25, 975)
