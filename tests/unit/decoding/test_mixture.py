"""Tests of the mixture of the model and the project memory: valid distributions, weights and features."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mercury_lsp.engine.checkpoints.checkpoint import SHIPPED
from mercury_lsp.engine.decoding.mixture import EXPERTS, FEATURES, STEP_FEATURES, Level, Match, Mixture, Step

V, END = 50, 0
NEVER = 7  # a forbidden token


@dataclass
class ScriptedMemory:
    """A project memory that knows the matches after some tokens."""

    matches: dict[int, Match] = field(default_factory=dict)

    def find_match(self, context: Sequence[int]) -> Match:
        return self.matches.get(context[-1], Match())

    def predict_continuation(self, context: Sequence[int], max_tokens: int) -> list[Step]:
        return []


def mixture(bias: Sequence[float] = (0.0,) * len(EXPERTS), seed: int = 0) -> Mixture:
    """Return a mixture with random weights."""
    draw = np.random.default_rng(seed)
    f, e, units = len(FEATURES), len(EXPERTS), 4
    return Mixture(
        END,
        np.zeros(f, np.float32),
        np.ones(f, np.float32),
        draw.normal(size=(f, units)).astype(np.float32),
        np.zeros(units, np.float32),
        draw.normal(size=(units, e)).astype(np.float32),
        np.array(bias, np.float32),
        np.ones(len(STEP_FEATURES) + 1, np.float32),
    )


def scores(rows: int, seed: int = 1) -> NDArray[np.float32]:
    """Return log-probabilities in which one token is forbidden."""
    logits = np.random.default_rng(seed).normal(size=(rows, V)) * 3
    logits[:, NEVER] = -np.inf
    return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)), np.float32)


MATCHES = {
    1: Match(
        (Level(3, (5, 9), (3, 1), 4), Level(1, (9, 5, 2), (6, 5, 1), 12)), (Level(2, (5,), (2,), 2),), "a", 0
    ),
    2: Match((), (Level(1, (8,), (1,), 1),), "b", 2),
    3: Match((Level(2, (NEVER, 5), (3, 1), 4), Level(1, (NEVER,), (9,), 9)), (), "a", 0),
}


def test_mixed_scores_are_a_distribution_and_forbidden_tokens_stay_forbidden() -> None:
    given = scores(4)
    before = given.copy()
    mixed, matches = mixture().mix(given, [[1], [2], [3], [4]], ScriptedMemory(MATCHES))
    assert np.array_equal(given, before)
    np.testing.assert_allclose(np.exp(mixed.astype(float)).sum(1), 1, atol=1e-5)
    assert np.isneginf(mixed[:, NEVER]).all() and not np.isnan(mixed).any()
    assert [match.length for match in matches] == [3, 1, 2, 0]


def test_a_row_without_matches_is_unchanged() -> None:
    given = scores(2)
    mixed, _ = mixture().mix(given, [[4], [1]], ScriptedMemory(MATCHES))
    assert np.array_equal(mixed[0], given[0]) and not np.array_equal(mixed[1], given[1])
    assert np.array_equal(mixture().mix(given, [[4], [4]], ScriptedMemory())[0], given)


def test_matches_with_only_forbidden_tokens_change_nothing() -> None:
    known = ScriptedMemory({1: Match((Level(2, (NEVER,), (3,), 3),), (), "a", 1)})
    given = scores(1)
    np.testing.assert_allclose(mixture().mix(given, [[1]], known)[0], given, atol=1e-6)


def test_weight_zero_gives_the_model_and_full_weight_gives_the_memory() -> None:
    given = scores(1)
    silent = replace(mixture([100.0, *[-100.0] * 5]), out=np.zeros((4, len(EXPERTS)), np.float32))
    np.testing.assert_allclose(silent.mix(given, [[1]], ScriptedMemory(MATCHES))[0], given, atol=1e-6)
    loud = replace(silent, out_bias=np.array([-100, 100, -100, -100, -100, -100], np.float32))
    mixed = np.exp(loud.mix(given, [[1]], ScriptedMemory(MATCHES))[0][0])
    assert mixed[5] == pytest.approx(0.75) and mixed[9] == pytest.approx(0.25)


def test_each_token_gets_the_weighted_mean_of_all_experts() -> None:
    given = scores(1)
    flat = replace(mixture(), out=np.zeros((4, len(EXPERTS)), np.float32))
    mixed = np.exp(flat.mix(given, [[1]], ScriptedMemory(MATCHES))[0][0])
    model = np.exp(given[0])
    # The model, two levels of the project and one of the document have a weight of 1/4 each.
    assert mixed[5] == pytest.approx((model[5] + 3 / 4 + 5 / 12 + 1) / 4, abs=1e-5)
    assert mixed[9] == pytest.approx((model[9] + 1 / 4 + 6 / 12) / 4, abs=1e-5)
    assert mixed[30] == pytest.approx(model[30] / 4, abs=1e-6)


def test_the_end_is_likelier_if_the_matched_continuation_is_the_text_after_the_cursor() -> None:
    given = scores(1)
    flat = replace(mixture(), out=np.zeros((4, len(EXPERTS)), np.float32))
    mixed = np.exp(flat.mix(given, [[2]], ScriptedMemory(MATCHES))[0][0])
    assert mixed[END] == pytest.approx((np.exp(given[0, END]) + 1) / 3, abs=1e-5)


def test_weights_are_stored_as_json_and_invalid_weights_are_rejected(tmp_path: Path) -> None:
    assert Mixture.load(tmp_path, END) is None
    own = mixture()
    (tmp_path / Mixture.FILE).write_text(json.dumps(own.to_json()))
    read = Mixture.load(tmp_path, END)
    assert read is not None
    given = scores(3)
    first, again = (one.mix(given, [[1], [2], [3]], ScriptedMemory(MATCHES))[0] for one in (own, read))
    np.testing.assert_allclose(first, again, atol=1e-3)
    kept = own.to_json()
    wrong = (
        {"format": 2},
        {"features": list(FEATURES[1:])},
        {"mean": [0.0]},
        {"out_bias": [math.nan] * len(EXPERTS)},
        {"step": "none"},
    )
    for change in wrong:
        with pytest.raises(ValueError, match=Mixture.FILE):
            Mixture.from_json(kept | change, END)


def test_the_odds_of_a_continuation_grow_with_its_evidence() -> None:
    """With the shipped weights."""
    own = Mixture.load(SHIPPED / "small", END)
    assert own is not None
    short, long = Step(1, 1, 100, 10, False), Step(1, 20, 4, 4, False)
    odds = own.continuation_probabilities([short, long])
    assert 0 < odds[0] < odds[1] < 1 and own.continuation_probabilities([]) == []


def test_the_shipped_weights_prefer_a_sure_memory_to_an_unsure_model() -> None:
    own = Mixture.load(SHIPPED / "small", END)
    assert own is not None
    unsure = np.full((1, V), -math.log(V), np.float32)
    surely = ScriptedMemory({1: Match((Level(24, (5,), (6,), 6),), (), "a", 0)})
    hardly = ScriptedMemory({1: Match((Level(1, (5, 6, 8, 9), (1, 1, 1, 1), 4),), (), "a", 0)})
    high, low = (float(np.exp(own.mix(unsure, [[1]], told)[0][0, 5])) for told in (surely, hardly))
    assert high > 0.5 > low
    sure = np.full((1, V), math.log(0.0002), np.float32)
    sure[0, 9] = math.log(1 - 0.0002 * (V - 1))
    assert np.exp(own.mix(sure, [[1]], hardly)[0][0, 9]) > 0.8
