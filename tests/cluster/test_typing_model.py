"""Simulated programmers."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from model.loadtest.typing_model import Typing, options, typing


def test_keys_come_in_bursts_at_the_given_rate() -> None:
    model = Typing(gap=0.2, spread=0.5, burst=10, pause=3)
    times = model.times(20_000, np.random.default_rng(0))
    gaps = np.diff(times)
    assert (gaps >= 0).all() and times[0] >= 0 and times[-1] < 20_000
    assert len(times) / 20_000 == pytest.approx(model.rate, rel=0.05)
    short = gaps[gaps < 1]
    # The median of a log-normal distribution.
    assert np.median(short) == pytest.approx(0.2 / np.sqrt(1.25), rel=0.05)
    assert (gaps >= 1).mean() == pytest.approx(np.exp(-0.8 / 3) / 10, rel=0.15)


def test_a_programmer_starts_at_a_random_phase_of_typing() -> None:
    """So the first keys of all programmers do not coincide."""
    first = [Typing().times(60, np.random.default_rng(seed))[0] for seed in range(50)]
    assert 0.1 < np.median(first) < 5


def test_arguments_are_parsed_and_invalid_ones_refused() -> None:
    parser = argparse.ArgumentParser()
    options(parser)
    assert typing(parser.parse_args([])) == Typing()
    assert typing(parser.parse_args(["--gap", "0.3", "--burst", "7"])) == Typing(gap=0.3, burst=7)
    with pytest.raises(ValueError, match="above 0"):
        typing(parser.parse_args(["--gap", "0"]))
