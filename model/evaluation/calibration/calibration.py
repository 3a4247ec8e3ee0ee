"""Fits and measures the calibration of the model's probabilities.

A token is *right* if the text up to its end is the author's, and does not end within a word of the author. Only tokens
that follow right tokens count. The log-odds of being right are modeled as linear in the log-odds of the model's
probability (Platt 1999), and fitted by Newton's method. The expected calibration error (Guo et al. 2017) is over bins
of equal size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.completion.fitting.cutoff import word_probabilities
from mercury_lsp.engine.api import ScoredToken
from model.evaluation.calibration.keystrokes import Keystrokes
from model.evaluation.calibration.odds import Calibration, calibrated_probability, log_odds

BINS = 10
RIDGE = 1e-3
"""The penalty on the squared deviation of the slope from 1 and of the offset from 0; keeps both finite."""
STEPS = 50

Outcomes = Sequence[tuple[float, bool]]
"""Pairs of a probability, or its logarithm, and whether the token or text with this probability is right."""

_WITHIN = re.compile(r"\w\w")


def agrees(text: str, end: int, truth: str) -> bool:
    """Return whether the first ``end`` characters of a text are right."""
    if not truth.startswith(text[:end]):
        return False
    within = _WITHIN.match(truth, end - 1) if end else None
    return within is None or _WITHIN.match(text, end - 1) is not None


def tokens(lines: Iterable[Keystrokes]) -> list[tuple[float, bool]]:
    """Return the log-probability of each token that follows right tokens, and whether the token is right."""
    return [
        (logp, right)
        for text, scored, truth in _texts(lines)
        for logp, right in _until_wrong(text, scored, truth)
    ]


def beginnings(lines: Iterable[Keystrokes], calibration: Calibration) -> list[tuple[float, bool]]:
    """Return the probability of each prefix of a text that ends with a word, and whether the prefix is right."""
    return [
        (probability, agrees(text, end, truth))
        for text, scored, truth in _texts(lines)
        for end, probability in word_probabilities(
            text,
            [ScoredToken(end, math.log(calibrated_probability(logp, calibration))) for end, logp in scored],
        )
    ]


def _texts(lines: Iterable[Keystrokes]) -> Iterator[tuple[str, Sequence[tuple[int, float]], str]]:
    for line in lines:
        for request in line.requests:
            if request.offer is not None and request.offer.scored:
                yield request.offer.text, request.offer.scored, line.truth(request)


def _until_wrong(text: str, scored: Iterable[tuple[int, float]], truth: str) -> Iterator[tuple[float, bool]]:
    for end, logp in scored:
        right = agrees(text, end, truth)
        yield logp, right
        if not right:
            return


def fit(outcomes: Outcomes) -> Calibration:
    """Fit offset and slope by maximum likelihood. outcomes: of tokens, by their log-probabilities."""
    odds = np.array([log_odds(logp) for logp, _ in outcomes])
    right = np.array([float(right) for _, right in outcomes])
    rows = np.stack([np.ones_like(odds), odds], axis=1)
    prior = np.array([0.0, 1.0])
    weights = prior.copy()
    for _ in range(STEPS):
        step = _newton(rows, right, weights, prior)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return round(float(weights[0]), 3), round(float(weights[1]), 3)


def _newton(
    rows: NDArray[np.float64],
    right: NDArray[np.float64],
    weights: NDArray[np.float64],
    prior: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return Newton's step (2,). Shapes: rows (n, 2), right (n,), weights and prior (2,)."""
    sure = 1 / (1 + np.exp(-(rows @ weights)))
    gradient = rows.T @ (sure - right) + RIDGE * (weights - prior)
    curvature = (rows * (sure * (1 - sure))[:, None]).T @ rows + RIDGE * np.eye(2)
    step = np.asarray(np.linalg.solve(curvature, gradient), np.float64)
    # Far from the optimum the curvature is almost 0, and a full step would diverge.
    return np.clip(step, -1, 1)


def calibrated_outcomes(outcomes: Outcomes, calibration: Calibration) -> list[tuple[float, bool]]:
    """Replace the tokens' log-probabilities by calibrated probabilities."""
    return [(calibrated_probability(logp, calibration), right) for logp, right in outcomes]


def reliability(outcomes: Outcomes) -> list[dict[str, float]]:
    """Return bins of equal size by probability: the mean probability, and the share of right outcomes."""
    order = sorted(outcomes, key=lambda pair: pair[0])
    rows = []
    for i in range(BINS):
        own = order[i * len(order) // BINS : (i + 1) * len(order) // BINS]
        if own:
            mean, share = (sum(column) / len(own) for column in zip(*own, strict=True))
            rows.append({"n": len(own), "probability": round(mean, 4), "right": round(share, 4)})
    return rows


def error(rows: Sequence[dict[str, float]]) -> float:
    """Return the expected calibration error of the bins."""
    total = sum(row["n"] for row in rows)
    return round(sum(row["n"] * abs(row["probability"] - row["right"]) for row in rows) / max(total, 1), 4)
