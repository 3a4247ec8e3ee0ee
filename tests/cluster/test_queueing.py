"""The number of replicas that a number of programmers needs."""

from __future__ import annotations

import argparse
import asyncio
import json

import pytest
from test_load import serving

from model.loadtest import queueing
from model.loadtest.queueing import Times, fewest, measure
from model.loadtest.queues import Fleet
from model.loadtest.typing_model import Typing

GIVEN = argparse.Namespace(sessions=256, stop_ms=10, seed=0, percentile=95, target_ms=100)


def test_the_fewest_replicas_meet_the_target() -> None:
    times = Times((40.0,), 0.0, (40.0,))
    replicas, found = fewest(40, Typing(), times, Fleet(1, ongoing=4), GIVEN)
    assert replicas > 1
    assert found.percentile(0.95) <= 0.1
    arrivals_met = fewest(
        40, Typing(), times, Fleet(1, ongoing=4), argparse.Namespace(**vars(GIVEN) | {"target_ms": 60})
    )
    # A stricter target needs at least as many replicas.
    assert arrivals_met[0] >= replicas


def test_batch_sizes_that_save_no_time_are_dropped() -> None:
    assert list(Times((40.0,), 0, (40, 80, 120)).service(1, 0, 0).batches) == [1.0]
    assert list(Times((40.0,), 0, (40, 60, 80)).service(1, 0, 0).batches) == [1.0, 1.5, 2.0]


def test_a_service_that_misses_the_target_without_load_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert queueing.main(["--service-ms", "200", "--people", "2"]) == 1
    told = capsys.readouterr().err
    # This includes the wait for the end of a superseded pass.
    assert "it is 210 ms instead of 100." in told
    assert "alone takes too long here; give a larger --target-ms." in told


def test_there_is_a_row_for_each_number_of_people_and_a_price_only_if_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = ["--people", "2,10", "--service-ms", "30", "--cold-ms", "50", "--batch-ms", "30,40"]
    assert queueing.main([*few, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["people"] for row in rows] == [2, 10]
    for row in rows:
        assert row["replicas"] >= 1 and 0 < row["utilisation"] < 1 and row["ms"]["p95"] <= 100
        assert "per_hour" not in row
    assert queueing.main([*few, "--json", "--price", "3"]) == 0
    priced = json.loads(capsys.readouterr().out)["rows"]
    assert [row["per_hour"] for row in priced] == [3 * row["replicas"] for row in rows]
    assert queueing.main(few) == 0
    assert "people per replica" in capsys.readouterr().out


def test_the_times_of_a_service_are_measured() -> None:
    with serving(pause=0.02) as (url, seen):
        times = asyncio.run(measure(url, 2, 2.0, "", 8))
    assert len(times.batches) == 2 and len(times.alone) >= 3
    assert all(ms >= 20 for ms in (*times.alone, *times.batches))
    assert {body["prompt_cache_key"] for body in seen} == {"typist-0", "typist-1", "typist-2"}


def test_a_service_that_is_slower_than_the_measurement_is_not_measured() -> None:
    with serving(pause=0.6) as (url, _), pytest.raises(RuntimeError, match="measure for longer"):
        asyncio.run(measure(url, 1, 0.3, "", 8))


def test_a_service_that_fails_is_not_measured() -> None:
    with serving(fails=True) as (url, _), pytest.raises(RuntimeError, match="requests failed: 503"):
        asyncio.run(measure(url, 1, 0.3, "", 8))


@pytest.mark.parametrize(
    "arguments", [[], ["--url", "http://x", "--service-ms", "3"], ["--service-ms", "3", "--gap", "0"]]
)
def test_invalid_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        queueing.main(arguments)
    assert ended.value.code == 2
