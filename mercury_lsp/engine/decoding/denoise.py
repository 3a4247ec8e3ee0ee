"""Denoises one block: starts from masks only, and commits a few tokens a pass until no mask is left.

The network is passed as a function, so that tests can drive the loop with scripted predictions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.healing import Stem

# A log-probability whose exponential is 0 in any float format.
NEVER = np.float32(-1e4)

Predict = Callable[[Sequence[int | None]], NDArray[np.float32]]
"""Takes a block, with None for undecided positions; returns the log-probabilities (n, V) of these positions, left to
right. Forbidden tokens have -inf.
"""

CommitCount = Callable[[Sequence[float]], int]
"""Takes the uncertainties of positions in nats, ascending; returns how many of them may be committed together."""

IsStop = Callable[[int, int], bool]
"""Takes an index in the block and a token; returns whether the token would end the text there."""


@dataclass(frozen=True, slots=True)
class CommitRule:
    """Limits the number of positions that a pass commits.

    ``commit_count``: takes the entropies with ``by_entropy``, or else the likeliest tokens' negative log-probabilities.
    """

    commit_count: CommitCount
    by_entropy: bool = True


@dataclass(frozen=True, slots=True)
class Block:
    """A denoised block.

    ``tokens``: the committed tokens from the left, without the stop token. ``logp``: their log-probabilities when
    committed, and that of the stop token. ``ended``: whether a stop token was committed after them. ``full``: whether
    no mask is left.
    """

    tokens: tuple[int, ...]
    logp: tuple[float, ...]
    passes: int
    ended: bool
    full: bool


def likeliest(scores: NDArray[np.float32]) -> tuple[list[int], list[float]]:
    """Return the likeliest token of each prediction (n, V), and the log-probabilities of these tokens."""
    ids = scores.argmax(-1)  # (n,)
    return ids.tolist(), scores[np.arange(len(ids)), ids].tolist()


def entropy(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy in nats of each prediction: log-probabilities (..., V), -inf if forbidden -> (...)."""
    # 0 * -inf is NaN, but 0 * NEVER is 0.
    finite = np.maximum(scores, NEVER)
    nats: NDArray[np.float32] = -(np.exp(finite) * finite).sum(-1)
    return nats


def denoise(
    predict: Predict,
    size: int,
    is_stop: IsStop,
    commit_rule: CommitRule,
    allows_pass: Callable[[], bool],
    stem: Stem,
    on_draft: Callable[[Sequence[int | None]], None] | None = None,
) -> Block:
    """Denoise a block of ``size`` masked tokens.

    commit_rule: how many tokens a pass may commit. allows_pass: called before each pass; False ends the loop with the
    tokens committed so far, and exceptions (`Cancelled`) propagate. stem: the start of the block; until the stem is
    complete, tokens are committed from the left, one a pass. on_draft: called with the block after each pass.
    """
    tokens: list[int | None] = [None] * size
    logp = [0.0] * size
    passes = 0
    end = None
    while end is None and None in tokens and allows_pass():
        undecided = [i for i, token in enumerate(tokens) if token is None]
        scores = predict(tokens)  # (n, V)
        passes += 1
        committed_start = [token for token in tokens[: undecided[0]] if token is not None]
        remaining_stem = stem.after(committed_start)
        if remaining_stem.is_open:
            scores, undecided = remaining_stem.restrict(scores[:1]), undecided[:1]
        hidden = stem.count_hidden(committed_start)
        chosen_ids, chosen_logp = likeliest(scores)
        uncertainty = (
            entropy(scores).tolist() if commit_rule.by_entropy else [-value for value in chosen_logp]
        )
        ends_here = [is_stop(i - hidden, token) for i, token in zip(undecided, chosen_ids, strict=True)]
        for j in positions_to_commit(uncertainty, ends_here, commit_rule.commit_count):
            i = undecided[j]
            tokens[i], logp[i] = chosen_ids[j], chosen_logp[j]
            if ends_here[j]:
                end = i
        if on_draft is not None:
            on_draft(tokens)
    committed = end if end is not None else next((i for i, token in enumerate(tokens) if token is None), size)
    text = tuple(token for token in tokens[:committed] if token is not None)
    ended = end is not None
    return Block(text, tuple(logp[: committed + ended]), passes, ended, None not in tokens)


def entropy_bound(bound: float) -> CommitCount:
    """Return a rule that commits the most positions whose entropies, without the largest, sum to at most ``bound``.

    ``bound`` is in nats. The sum bounds the dependence between the tokens that is ignored when they are committed
    together (entropy-bounded sampler, Ben-Hamu et al. 2025).
    """

    def commit_count(uncertainty: Sequence[float]) -> int:
        total = 0.0
        for count, nats in enumerate(uncertainty):
            # The last of the first `count` entropies is the largest, and is not part of the sum.
            if total > bound:
                return count
            total += nats
        return len(uncertainty)

    return commit_count


def threshold(min_probability: float) -> CommitCount:
    """Return a rule that commits the positions whose likeliest token has at least the probability ``min_probability``.

    The uncertainty of a position is the negative log-probability in nats. Source: Fast-dLLM, Wu et al. 2025.
    """
    max_nats = -math.log(min_probability)
    return lambda uncertainty: sum(nats <= max_nats for nats in uncertainty)


def positions_to_commit(
    uncertainty: Sequence[float], is_stop: Sequence[bool], commit_count: CommitCount
) -> list[int]:
    """Return the indices of the undecided positions to commit, ascending; at least one.

    uncertainty: the uncertainty in nats of each undecided position, left to right. is_stop: whether the likeliest token
    there would end the text. Positions after the first end wait, because they may not be needed. Of the others, the
    surest are committed, as many as ``commit_count`` allows. An end is committed only with or after all positions to
    its left.
    """
    first_stop = next((i for i, stops in enumerate(is_stop) if stops), len(uncertainty) - 1)
    surest = sorted(range(first_stop + 1), key=lambda i: uncertainty[i])
    chosen = set(surest[: max(1, commit_count([uncertainty[i] for i in surest]))])
    if is_stop[first_stop] and first_stop in chosen and len(chosen) <= first_stop:
        chosen.discard(first_stop)
    return sorted(chosen) or [surest[0] if surest[0] != first_stop or first_stop == 0 else surest[1]]
