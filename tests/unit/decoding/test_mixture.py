"""The mixture of the model and the memory: a distribution, harmless where nothing is known, and what it can learn."""

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
NEVER = 7  # a token that must not be shown


@dataclass
class Told:
    """A memory that knows the matches of some last tokens."""

    matches: dict[int, Match] = field(default_factory=dict)

    def find_match(self, context: Sequence[int]) -> Match:
        return self.matches.get(context[-1], Match())

    def predict_continuation(self, context: Sequence[int], max_tokens: int) -> list[Step]:
        return []


def mixture(bias: Sequence[float] = (0.0,) * len(EXPERTS), seed: int = 0) -> Mixture:
    """One of random weights."""
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
    """Log-probabilities, of which one token has none."""
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


def test_what_is_mixed_is_a_distribution_and_forbidden_tokens_stay_forbidden() -> None:
    given = scores(4)
    before = given.copy()
    mixed, matches = mixture().mix(given, [[1], [2], [3], [4]], Told(MATCHES))
    assert np.array_equal(given, before)
    np.testing.assert_allclose(np.exp(mixed.astype(float)).sum(1), 1, atol=1e-5)
    assert np.isneginf(mixed[:, NEVER]).all() and not np.isnan(mixed).any()
    assert [match.length for match in matches] == [3, 1, 2, 0]


def test_a_row_that_nothing_is_known_of_stays_as_it_is() -> None:
    given = scores(2)
    mixed, _ = mixture().mix(given, [[4], [1]], Told(MATCHES))
    assert np.array_equal(mixed[0], given[0]) and not np.array_equal(mixed[1], given[1])
    assert np.array_equal(mixture().mix(given, [[4], [4]], Told())[0], given)


def test_where_only_forbidden_tokens_followed_nothing_changes() -> None:
    known = Told({1: Match((Level(2, (NEVER,), (3,), 3),), (), "a", 1)})
    given = scores(1)
    np.testing.assert_allclose(mixture().mix(given, [[1]], known)[0], given, atol=1e-6)


def test_without_weight_the_model_is_alone_and_with_all_of_it_the_memory_is() -> None:
    given = scores(1)
    silent = replace(mixture([100.0, *[-100.0] * 5]), out=np.zeros((4, len(EXPERTS)), np.float32))
    np.testing.assert_allclose(silent.mix(given, [[1]], Told(MATCHES))[0], given, atol=1e-6)
    loud = replace(silent, out_bias=np.array([-100, 100, -100, -100, -100, -100], np.float32))
    mixed = np.exp(loud.mix(given, [[1]], Told(MATCHES))[0][0])
    assert mixed[5] == pytest.approx(0.75) and mixed[9] == pytest.approx(0.25)


def test_each_token_gets_the_weighted_mean_of_what_all_say() -> None:
    given = scores(1)
    flat = replace(mixture(), out=np.zeros((4, len(EXPERTS)), np.float32))
    mixed = np.exp(flat.mix(given, [[1]], Told(MATCHES))[0][0])
    model = np.exp(given[0])
    # The model, two levels of the project and one of the document, each a quarter.
    assert mixed[5] == pytest.approx((model[5] + 3 / 4 + 5 / 12 + 1) / 4, abs=1e-5)
    assert mixed[9] == pytest.approx((model[9] + 1 / 4 + 6 / 12) / 4, abs=1e-5)
    assert mixed[30] == pytest.approx(model[30] / 4, abs=1e-6)


def test_the_end_gains_where_what_follows_stands_after_the_cursor() -> None:
    given = scores(1)
    flat = replace(mixture(), out=np.zeros((4, len(EXPERTS)), np.float32))
    mixed = np.exp(flat.mix(given, [[2]], Told(MATCHES))[0][0])
    assert mixed[END] == pytest.approx((np.exp(given[0, END]) + 1) / 3, abs=1e-5)


def test_weights_are_kept_as_json_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    assert Mixture.load(tmp_path, END) is None
    own = mixture()
    (tmp_path / Mixture.FILE).write_text(json.dumps(own.to_json()))
    read = Mixture.load(tmp_path, END)
    assert read is not None
    given = scores(3)
    first, again = (one.mix(given, [[1], [2], [3]], Told(MATCHES))[0] for one in (own, read))
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


def test_odds_grow_with_what_speaks_for_a_continuation() -> None:
    """By the shipped weights."""
    own = Mixture.load(SHIPPED / "small", END)
    assert own is not None
    short, long = Step(1, 1, 100, 10, False), Step(1, 20, 4, 4, False)
    odds = own.continuation_probabilities([short, long])
    assert 0 < odds[0] < odds[1] < 1 and own.continuation_probabilities([]) == []


def test_the_shipped_gate_listens_where_the_memory_is_sure_and_the_model_is_not() -> None:
    own = Mixture.load(SHIPPED / "small", END)
    assert own is not None
    unsure = np.full((1, V), -math.log(V), np.float32)
    surely = Told({1: Match((Level(24, (5,), (6,), 6),), (), "a", 0)})
    hardly = Told({1: Match((Level(1, (5, 6, 8, 9), (1, 1, 1, 1), 4),), (), "a", 0)})
    high, low = (float(np.exp(own.mix(unsure, [[1]], told)[0][0, 5])) for told in (surely, hardly))
    assert high > 0.5 > low
    sure = np.full((1, V), math.log(0.0002), np.float32)
    sure[0, 9] = math.log(1 - 0.0002 * (V - 1))
    assert np.exp(own.mix(sure, [[1]], hardly)[0][0, 9]) > 0.8
