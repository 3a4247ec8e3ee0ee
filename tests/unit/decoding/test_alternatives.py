"""Where other texts leave one: the likeliest places first. Scripted scores."""

from __future__ import annotations

import numpy as np
import pytest

from mercury_lsp.engine.decoding.sampling import TOKENS_PER_POSITION, Branch, branches


def test_the_branch_that_is_likeliest_with_what_stands_before_it_comes_first() -> None:
    chances = [[0.6, 0.3, 0.1, 0.0], [0.0, 0.1, 0.5, 0.4]]
    with np.errstate(divide="ignore"):
        scores = np.log(np.array(chances, np.float32))
    found = branches(scores, [0, 2])
    assert [(branch.at, branch.token) for branch in found] == [
        (0, 1),
        (1, 3),
        (0, 2),
        (1, 1),
    ]  # .3, .24, .1, .06
    assert [np.exp(branch.logp) for branch in found] == pytest.approx([0.3, 0.4, 0.1, 0.1])


def test_the_end_may_be_left_too_and_nothing_that_must_not_be_shown_comes() -> None:
    with np.errstate(divide="ignore"):
        scores = np.log(np.array([[0.9, 0.1, 0.0], [0.0, 0.3, 0.7]], np.float32))
    assert branches(scores, [0]) == [
        Branch(1, 1, pytest.approx(np.log(0.3))),
        Branch(0, 1, pytest.approx(np.log(0.1))),
    ]


def test_of_one_place_only_the_likeliest_come() -> None:
    scores = np.log(np.full((1, 50), 1 / 50, np.float32))
    found = branches(scores, [7])
    assert len(found) == TOKENS_PER_POSITION and 7 not in {branch.token for branch in found}
    assert scores[0, 7] > -10  # the scores are the caller's
