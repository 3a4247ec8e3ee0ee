"""Denoising of one block: from all-masked to committed, a few tokens a pass.

Owns the loop over passes and what ends it. The network comes in as a function, so that the loop can be driven by
scripted predictions; which positions to commit is `commit`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.decoding.commit import Enough, positions_to_commit
from mercury_lsp.engine.decoding.healing import Stem

NEVER = np.float32(-1e4)  # a log-probability of which the probability is 0 in any float

Predict = Callable[[Sequence[int | None]], NDArray[np.float32]]
"""Given a block with None where it is undecided: float log-probabilities of the undecided positions, left to right.
(n, V), -inf where forbidden."""


@dataclass(frozen=True, slots=True)
class CommitRule:
    """What a pass may commit: ``enough`` of the positions by their entropies, or else by their surest tokens."""

    enough: Enough
    by_entropy: bool = True


class StopCondition(Protocol):
    """Tells whether a token at an index of the block would end the text."""

    def __call__(self, index: int, token: int) -> bool:
        """Whether it would."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """A denoised block. ``tokens``: what is committed from its left end on, without the end; ``logp``: their and the
    end's log-probabilities when committed; ``ended``: an end was committed behind them; ``full``: no mask is left."""

    tokens: tuple[int, ...]
    logp: tuple[float, ...]
    passes: int
    ended: bool
    full: bool


def likeliest(scores: NDArray[np.float32]) -> tuple[list[int], list[float]]:
    """The likeliest token of each prediction, and its log-probability. (n, V)"""
    ids = scores.argmax(-1)  # (n,)
    return ids.tolist(), scores[np.arange(len(ids)), ids].tolist()


def entropy(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nats of each prediction: log-probabilities (..., V), -inf where forbidden -> (...)."""
    finite = np.maximum(scores, NEVER)  # a forbidden token: 0 * -inf is no number, 0 * NEVER is 0
    nats: NDArray[np.float32] = -(np.exp(finite) * finite).sum(-1)
    return nats


def denoise(
    predict: Predict,
    size: int,
    ends: StopCondition,
    commit_rule: CommitRule,
    may_go_on: Callable[[], bool],
    stem: Stem,
    seen: Callable[[Sequence[int | None]], None] | None = None,
) -> Block:
    """Denoise a block of ``size`` masked tokens.

    stem: with what the block begins; until that is complete, it is decided from the left, a token a pass.

    commit: what may be committed together. may_go_on: asked before each pass; False ends with what is committed, an
    exception from it (cancellation) passes through. seen: told of each draft.
    """
    tokens: list[int | None] = [None] * size
    logp = [0.0] * size
    passes = 0
    end = None
    while end is None and None in tokens and may_go_on():
        undecided = [i for i, token in enumerate(tokens) if token is None]
        scores = predict(tokens)  # (n, V)
        passes += 1
        begun = [token for token in tokens[: undecided[0]] if token is not None]
        open_stem = stem.behind(begun)
        if open_stem.open:
            scores, undecided = open_stem.restrict(scores[:1]), undecided[:1]
        hidden = stem.hidden(begun)
        chosen_ids, surety = likeliest(scores)
        doubt = entropy(scores).tolist() if commit_rule.by_entropy else [-logp for logp in surety]
        is_end = [ends(i - hidden, token) for i, token in zip(undecided, chosen_ids, strict=True)]
        for j in positions_to_commit(doubt, is_end, commit_rule.enough):
            i = undecided[j]
            tokens[i], logp[i] = chosen_ids[j], surety[j]
            if is_end[j]:
                end = i
        if seen is not None:
            seen(tokens)
    committed = end if end is not None else next((i for i, token in enumerate(tokens) if token is None), size)
    left = tuple(token for token in tokens[:committed] if token is not None)
    return Block(
        left, tuple(logp[: committed + (end is not None)]), passes, end is not None, None not in tokens
    )
