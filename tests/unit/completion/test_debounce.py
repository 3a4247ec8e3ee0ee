"""How long a request waits, by a simulated clock."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from mercury_lsp.completion.debounce import MAX_WAIT_SECONDS, Debounce


def typed(gaps: Sequence[float], latency: float | None = None) -> tuple[Debounce, float]:
    """The pace after keys so far apart, and the time of the last."""
    debounce, now = Debounce(), 100.0
    debounce = debounce.after_change(now)
    for gap in gaps:
        now += gap
        debounce = debounce.after_change(now)
    return (debounce if latency is None else debounce.after_answer(latency)), now


def test_nothing_is_waited_for_before_anything_is_known() -> None:
    assert Debounce().wait_seconds(1.0) == 0
    assert typed([])[0].after_answer(0.5).wait_seconds(100.0) == 0
    debounce, now = typed([0.1, 0.1])
    assert debounce.wait_seconds(now) == 0


def test_an_answer_that_comes_before_the_next_key_is_not_waited_for() -> None:
    debounce, now = typed([0.2] * 5, latency=0.06)
    assert debounce.wait_seconds(now) == 0


def test_while_keys_come_faster_than_answers_the_next_key_is_waited_for() -> None:
    debounce, now = typed([0.1] * 5, latency=0.3)
    assert debounce.wait_seconds(now) == pytest.approx(0.1)
    assert debounce.wait_seconds(now + 0.04) == pytest.approx(
        0.06
    )  # the editor has waited for a part of that
    assert debounce.wait_seconds(now + 0.2) == 0  # a pause: it has not come


def test_no_wait_is_longer_than_the_bound_nor_than_what_it_may_spare() -> None:
    debounce, now = typed([0.3] * 5, latency=0.9)
    assert debounce.wait_seconds(now) == 0  # the next key is too far away
    assert 0 < debounce.wait_seconds(now + 0.2) <= MAX_WAIT_SECONDS
    debounce, now = typed([0.05, 0.06, 0.05, 0.06], latency=0.075)
    assert 0 < debounce.wait_seconds(now) <= 0.075
    debounce, now = typed([0.05, 0.12, 0.05, 0.12], latency=0.075)
    assert debounce.wait_seconds(now) == 0  # it may well be there before the next key


def test_a_pause_is_no_gap() -> None:
    before, _ = typed([0.1] * 5)
    after, _ = typed([0.1] * 5 + [30.0])
    assert after.gap == before.gap and after.last == pytest.approx(130.5)


def test_it_learns() -> None:
    debounce, now = typed([0.4] * 3 + [0.1] * 12, latency=0.3)
    assert debounce.gap == pytest.approx(0.1, abs=0.03)
    for _ in range(12):
        debounce = debounce.after_answer(0.05)
    assert debounce.latency == pytest.approx(0.05, abs=0.03)
    assert debounce.wait_seconds(now) == 0


@dataclass
class Outcome:
    work: float = 0.0  # seconds that the model was busy
    vain: float = 0.0  # of these with what was superseded
    delay: float = 0.0  # from the last key of each burst to its answer, summed
    answers: int = 0


def simulate(keys: Sequence[float], latency: float, adaptive: bool) -> Outcome:
    """A request at each key, and a model that takes so long and is stopped by the next key, as without `anticipate`."""
    debounce, outcome = Debounce(), Outcome()
    for now, next_ in zip(keys, (*keys[1:], keys[-1] + 60), strict=True):
        debounce = debounce.after_change(now)
        begins = now + (debounce.wait_seconds(now) if adaptive else 0.0)
        ends = begins + latency
        if begins >= next_:
            continue  # superseded before the model was asked
        outcome.work += min(ends, next_) - begins
        if ends <= next_:
            debounce = debounce.after_answer(latency)
            outcome.delay += ends - now
            outcome.answers += 1
        else:
            outcome.vain += next_ - begins
    return outcome


@pytest.mark.parametrize("latency", [0.03, 0.06, 0.12, 0.25, 0.5])
@pytest.mark.parametrize("gap", [0.06, 0.1, 0.15, 0.25, 0.4])
def test_waiting_never_adds_more_than_it_spares(latency: float, gap: float) -> None:
    rng = random.Random(f"{latency}/{gap}")
    keys, now = [], 0.0
    for _ in range(60):  # words, with a pause behind each third
        for _ in range(rng.randint(3, 9)):
            now += max(0.02, rng.gauss(gap, gap / 5))
            keys.append(now)
        now += rng.uniform(0.8, 4.0) if rng.random() < 1 / 3 else 0.0
    at_once, waited = (simulate(keys, latency, adaptive) for adaptive in (False, True))
    added = waited.delay / waited.answers - at_once.delay / at_once.answers
    assert waited.answers >= at_once.answers * 0.9
    assert added * waited.answers <= at_once.work - waited.work + 1e-6
    assert added <= MAX_WAIT_SECONDS
    if latency < gap / 2:
        assert added == 0 and waited == at_once  # it is seen before the next key
    if latency > 1.5 * gap and gap * 1.4 < MAX_WAIT_SECONDS:
        assert waited.vain < at_once.vain / 2
