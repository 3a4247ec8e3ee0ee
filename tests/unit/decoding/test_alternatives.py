"""Tests of alternatives: where they branch off from a text, the likeliest first, with scripted scores."""

from __future__ import annotations

import numpy as np
import pytest

from mercury_lsp.engine.decoding.sampling import TOKENS_PER_POSITION, Branch, branches


def test_branches_are_ordered_by_the_probability_of_prefix_and_token() -> None:
    chances = [[0.6, 0.3, 0.1, 0.0], [0.0, 0.1, 0.5, 0.4]]
    with np.errstate(divide="ignore"):
        scores = np.log(np.array(chances, np.float32))
    found = branches(scores, [0, 2])
    # Their probabilities are 0.3, 0.24, 0.1 and 0.06.
    assert [(branch.at, branch.token) for branch in found] == [(0, 1), (1, 3), (0, 2), (1, 1)]
    assert [np.exp(branch.logp) for branch in found] == pytest.approx([0.3, 0.4, 0.1, 0.1])


def test_the_end_of_the_text_can_branch_and_impossible_tokens_never_do() -> None:
    with np.errstate(divide="ignore"):
        scores = np.log(np.array([[0.9, 0.1, 0.0], [0.0, 0.3, 0.7]], np.float32))
    assert branches(scores, [0]) == [
        Branch(1, 1, pytest.approx(np.log(0.3))),
        Branch(0, 1, pytest.approx(np.log(0.1))),
    ]


def test_only_the_likeliest_tokens_branch_at_a_position() -> None:
    scores = np.log(np.full((1, 50), 1 / 50, np.float32))
    found = branches(scores, [7])
    assert len(found) == TOKENS_PER_POSITION and 7 not in {branch.token for branch in found}
    assert scores[0, 7] > -10  # the caller's scores are unchanged
