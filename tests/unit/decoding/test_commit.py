"""Tests of the commit rule: which positions are committed, with scripted entropies."""

from __future__ import annotations

import math

from mercury_lsp.engine.decoding.denoise import entropy_bound, positions_to_commit, threshold

NONE = [False] * 5


def test_the_surest_position_is_committed_even_if_no_position_is_sure() -> None:
    assert positions_to_commit([3.0, 2.0, 5.0, 4.0, 3.5], NONE, entropy_bound(0.1)) == [1]


def test_positions_are_committed_while_all_entropies_but_the_largest_fit_the_bound() -> None:
    assert positions_to_commit([0.05, 0.1, 2.0, 0.04, 9.0], NONE, entropy_bound(0.2)) == [0, 1, 2, 3]
    assert positions_to_commit([0.05, 0.1, 2.0, 0.04, 9.0], NONE, entropy_bound(0.0)) == [3]


def test_positions_after_the_first_end_are_not_committed() -> None:
    assert positions_to_commit(
        [1.0, 0.5, 0.0, 0.0, 0.0], [False, False, True, False, False], entropy_bound(0.1)
    ) == [1]


def test_an_end_is_committed_only_with_all_positions_left_of_it() -> None:
    assert positions_to_commit([0.01, 0.01, 0.0], [False, False, True], entropy_bound(0.1)) == [0, 1, 2]
    assert positions_to_commit([0.01, 4.0, 0.0], [False, False, True], entropy_bound(0.005)) == [0]


def test_an_end_at_the_first_position_is_committed() -> None:
    assert positions_to_commit([2.0, 0.1], [True, False], entropy_bound(0.1)) == [0]


def test_another_position_is_committed_if_the_surest_is_a_premature_end() -> None:
    assert positions_to_commit([2.0, 3.0, 0.0], [False, False, True], entropy_bound(0.0)) == [0]


def test_a_threshold_commits_each_position_that_is_sure_enough() -> None:
    doubt = [-math.log(p) for p in (0.95, 0.3, 0.91, 0.89, 0.99)]
    assert positions_to_commit(doubt, NONE, threshold(0.9)) == [0, 2, 4]
    assert positions_to_commit(doubt, NONE, threshold(0.999)) == [4]
    assert positions_to_commit(doubt, NONE, threshold(0.1)) == [0, 1, 2, 3, 4]
