"""Maps the log-probability that the model gives a token to the probability that the token is right."""

from __future__ import annotations

import math

Calibration = tuple[float, float]
"""Offset and slope by which the log-odds of the model's probability of a token become those of its being right."""

IDENTITY: Calibration = (0.0, 1.0)


def calibrated(logp: float, calibration: Calibration) -> float:
    """The probability that a token is right, above 0, by the natural logarithm of what the model gives it."""
    offset, slope = calibration
    return 1 / (1 + math.exp(-(offset + slope * log_odds(logp))))


def log_odds(logp: float) -> float:
    """The logarithm of the odds of a probability, by its own logarithm; the probability is kept off 0 and 1."""
    probability = min(max(math.exp(logp), 1e-6), 1 - 1e-6)
    return math.log(probability / (1 - probability))
