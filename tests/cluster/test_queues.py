"""The queueing simulation, checked against exact results, and features that these do not cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model.loadtest.queues import Fleet, Service, erlang_c, simulate, wait_mg1, wait_mmc

# Seconds of service for one request.
SERVICE = 0.05


def poisson(rate: float, count: int, seed: int = 1) -> list[NDArray[np.float64]]:
    return [np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))]


def exponential(mean: float, seed: int = 2) -> Service:
    random = np.random.default_rng(seed)
    return Service(lambda: float(random.exponential(mean)))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (3, 0.7), (8, 0.7)])
def test_waits_with_several_servers_match_erlang_c(servers: int, load: float) -> None:
    """M/M/c: the mean wait and the probability to wait to 6%, the busy time to 2%, over 4 runs of 80,000 requests."""
    rate, fleet = load * servers / SERVICE, Fleet(servers, affinity=False)
    found = [
        simulate(poisson(rate, 80_000, seed), exponential(SERVICE, seed + 50), fleet, supersede=False)
        for seed in range(10, 14)
    ]
    waits = np.concatenate([one.waits for one in found])
    assert len(waits) == sum(one.requests for one in found) > 280_000
    assert waits.mean() == pytest.approx(wait_mmc(servers, rate, SERVICE), rel=0.06)
    assert (waits > 0).mean() == pytest.approx(erlang_c(servers, rate * SERVICE), rel=0.06)
    assert np.mean([one.busy for one in found]) == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_waits_with_constant_service_match_pollaczek_khinchine(load: float) -> None:
    """M/D/1, to 5%. With affinity, a single replica is also a single queue."""
    arrivals, rate = poisson(load / SERVICE, 150_000), load / SERVICE
    for fleet in (Fleet(1, affinity=False), Fleet(1, ongoing=10_000)):
        found = simulate(arrivals, Service(lambda: SERVICE), fleet, supersede=False)
        assert found.waits.mean() == pytest.approx(wait_mg1(rate, SERVICE), rel=0.05)
        assert found.busy == pytest.approx(load, rel=0.02)


def test_the_formulas_agree_in_special_cases() -> None:
    # With one server, the probability to wait is the load.
    assert erlang_c(1, 0.6) == pytest.approx(0.6)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert wait_mmc(1, 12, SERVICE) == pytest.approx(wait_mg1(12, SERVICE, variance=SERVICE**2))
    assert erlang_c(3, 3.0) == 1 and wait_mmc(3, 60, SERVICE) == wait_mg1(20, SERVICE) == math.inf
    # There is no numerical overflow.
    assert 0 < erlang_c(500, 450) < 1


def test_a_newer_key_supersedes_waiting_and_running_requests() -> None:
    """One typist, keys 10 ms apart, services of 50 ms: only the last is answered, after the running one stops."""
    keys = [np.arange(5) * 0.01]
    found = simulate(keys, Service(lambda: SERVICE, stop=0.004), Fleet(1, ongoing=9), warm_up=0)
    assert (found.requests, found.superseded, len(found.latencies)) == (5, 4, 1)
    assert found.latencies[0] == pytest.approx(0.004 + SERVICE)
    assert found.paused.tolist() == pytest.approx([0.004 + SERVICE])
    patient = simulate(keys, Service(lambda: SERVICE), Fleet(1, ongoing=9), warm_up=0, supersede=False)
    assert patient.superseded == 0
    assert patient.latencies.tolist() == pytest.approx([SERVICE * (i + 1) - 0.01 * i for i in range(5)])


def test_the_requests_of_a_batch_are_answered_together() -> None:
    """After the first request, three share a pass that takes 1.5 times as long as that of one."""
    keys = [np.array([at]) for at in (0.0, 0.01, 0.02, 0.03)]
    service = Service(lambda: SERVICE, batches=(1, 1.2, 1.5))
    found = simulate(keys, service, Fleet(1, ongoing=9), warm_up=0)
    assert sorted(found.latencies) == pytest.approx([0.05, 0.125 - 0.03, 0.125 - 0.02, 0.125 - 0.01])


def test_affinity_keeps_texts_cached_and_overflow_does_not() -> None:
    typists = [np.arange(1, 200) * 0.2 + 0.001 * i for i in range(8)]
    service = Service(lambda: 0.002, cold=0.02)
    home = simulate(typists, service, Fleet(4, ongoing=8), warm_up=0)
    # Each typist has one cold request.
    assert home.cold == pytest.approx(8 / home.requests)
    spread = simulate(typists, service, Fleet(4, ongoing=1), warm_up=0)
    # A full replica forwards requests to replicas without their cached text.
    assert spread.cold > home.cold
    forgetful = Service(lambda: 0.002, cold=0.02, sessions=1)
    assert simulate(typists, forgetful, Fleet(1, ongoing=8), warm_up=0).cold > 0.9


def test_requests_above_the_limit_are_refused_and_count_as_infinite_latency() -> None:
    together = [np.array([0.0]) for _ in range(5)]
    found = simulate(together, Service(lambda: SERVICE), Fleet(1, ongoing=2, queued=1), warm_up=0)
    assert (found.refused, len(found.latencies)) == (2, 3)
    assert found.percentile(0.5) == pytest.approx(3 * SERVICE)
    assert found.percentile(0.95) == math.inf


def test_the_same_seed_gives_the_same_run() -> None:
    def once() -> list[float]:
        return list(simulate(poisson(10, 500), exponential(SERVICE), Fleet(2)).latencies)

    assert once() == once()
