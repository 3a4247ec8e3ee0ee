"""Which positions are committed, on scripted entropies."""

from __future__ import annotations

import math

from mercury_lsp.engine.decoding.denoise import entropy_bound, positions_to_commit, threshold

NONE = [False] * 5


def test_takes_the_surest_even_where_nothing_is_sure() -> None:
    assert positions_to_commit([3.0, 2.0, 5.0, 4.0, 3.5], NONE, entropy_bound(0.1)) == [1]


def test_takes_all_whose_entropies_but_the_largest_fit_the_bound() -> None:
    assert positions_to_commit([0.05, 0.1, 2.0, 0.04, 9.0], NONE, entropy_bound(0.2)) == [0, 1, 2, 3]
    assert positions_to_commit([0.05, 0.1, 2.0, 0.04, 9.0], NONE, entropy_bound(0.0)) == [3]


def test_leaves_what_stands_behind_the_first_end() -> None:
    assert positions_to_commit(
        [1.0, 0.5, 0.0, 0.0, 0.0], [False, False, True, False, False], entropy_bound(0.1)
    ) == [1]


def test_takes_an_end_only_with_everything_left_of_it() -> None:
    assert positions_to_commit([0.01, 0.01, 0.0], [False, False, True], entropy_bound(0.1)) == [0, 1, 2]
    assert positions_to_commit([0.01, 4.0, 0.0], [False, False, True], entropy_bound(0.005)) == [0]


def test_an_end_alone_at_the_left_is_taken() -> None:
    assert positions_to_commit([2.0, 0.1], [True, False], entropy_bound(0.1)) == [0]


def test_the_surest_position_being_a_premature_end_another_is_taken() -> None:
    assert positions_to_commit([2.0, 3.0, 0.0], [False, False, True], entropy_bound(0.0)) == [0]


def test_a_threshold_takes_each_that_is_sure_enough_by_itself() -> None:
    doubt = [-math.log(p) for p in (0.95, 0.3, 0.91, 0.89, 0.99)]
    assert positions_to_commit(doubt, NONE, threshold(0.9)) == [0, 2, 4]
    assert positions_to_commit(doubt, NONE, threshold(0.999)) == [4]
    assert positions_to_commit(doubt, NONE, threshold(0.1)) == [0, 1, 2, 3, 4]
