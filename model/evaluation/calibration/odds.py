"""Maps the model's log-probability of a token to the probability that the token is right."""

from __future__ import annotations

import math

Calibration = tuple[float, float]
"""Offset and slope of a linear map from the log-odds of the model's probability to those of the token being right."""

IDENTITY: Calibration = (0.0, 1.0)


def calibrated_probability(logp: float, calibration: Calibration) -> float:
    """Return the probability, above 0, that a token is right. logp: the natural log-probability by the model."""
    offset, slope = calibration
    return 1 / (1 + math.exp(-(offset + slope * log_odds(logp))))


def log_odds(logp: float) -> float:
    """Return the log-odds of a probability, given its logarithm; the probability is clamped away from 0 and 1."""
    probability = min(max(math.exp(logp), 1e-6), 1 - 1e-6)
    return math.log(probability / (1 - probability))
