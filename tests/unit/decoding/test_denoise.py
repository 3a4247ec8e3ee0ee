"""Tests of the denoising loop over passes, with scripted predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support.models.stems import NO_STEM

from mercury_lsp.engine.decoding.denoise import Block, CommitRule, Predict, denoise, entropy_bound, threshold
from mercury_lsp.engine.worker import Cancelled

EOT = 0
SURE, UNSURE = 20.0, 1.0


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def scripted(truth: Sequence[int], sure: Sequence[bool], calls: list[list[int | None]]) -> Predict:
    """Return a predictor of `truth`; an unsure position becomes sure after its left neighbor is decided."""

    def predict(block: Sequence[int | None]) -> NDArray[np.float32]:
        calls.append(list(block))
        undecided = [i for i, token in enumerate(block) if token is None]
        logits = np.zeros((len(undecided), 50), np.float32)
        for row, i in enumerate(undecided):
            known = sure[i] or (i > 0 and block[i - 1] is not None)
            logits[row, truth[i]] = SURE if known else UNSURE
        return log_softmax(logits)

    return predict


def run(
    truth: Sequence[int], sure: Sequence[bool], most: int = 99, bound: float = 0.5
) -> tuple[Block, list[list[int | None]]]:
    calls: list[list[int | None]] = []
    predict = scripted(truth, sure, calls)
    block = denoise(
        predict,
        len(truth),
        lambda _, t: t == EOT,
        CommitRule(entropy_bound(bound)),
        lambda: len(calls) < most,
        NO_STEM,
    )
    return block, calls


def test_a_sure_block_takes_one_pass() -> None:
    block, _ = run([5, 6, 7, EOT, EOT, EOT], [True] * 6)
    assert (block.tokens, block.passes, block.ended) == ((5, 6, 7), 1, True)


def test_unsure_tokens_wait_for_their_context() -> None:
    block, calls = run([5, 6, 7, EOT, EOT, EOT], [True, False, False, True, True, True])
    assert block.tokens == (5, 6, 7)
    assert block.passes == 2
    # The bound admits one unsure token; the end waits.
    assert calls[1] == [5, 6, None, None, None, None]


def test_a_block_without_an_end_is_full() -> None:
    block, _ = run([5, 6, 7, 8], [True] * 4)
    assert (block.tokens, block.ended, block.full) == ((5, 6, 7, 8), False, True)


def test_at_the_pass_limit_only_the_decided_tokens_before_the_first_gap_are_returned() -> None:
    truth = [5, 6, 7, 8, 9, 10]
    block, _ = run(truth, [True, False, True, False, False, True], most=1, bound=0.0)
    assert len(block.tokens) < 6  # tokens after the first gap are decided, but not committed
    assert list(block.tokens) == truth[: len(block.tokens)]
    assert not block.full


def test_cancellation_is_propagated() -> None:
    def cancelled() -> bool:
        raise Cancelled

    with pytest.raises(Cancelled):
        denoise(
            scripted([5], [True], []),
            1,
            lambda _, t: t == EOT,
            CommitRule(entropy_bound(0.5)),
            cancelled,
            NO_STEM,
        )


def test_forbidden_tokens_are_never_chosen() -> None:
    def predict(block: Sequence[int | None]) -> NDArray[np.float32]:
        logits = np.zeros((block.count(None), 9), np.float32)
        logits[:, 3], logits[:, 4] = 5.0, -np.inf
        return log_softmax(logits)

    block = denoise(predict, 3, lambda _, t: t == EOT, CommitRule(entropy_bound(0.0)), lambda: True, NO_STEM)
    assert block.tokens == (3, 3, 3)
    assert block.passes == 3  # the entropy is not NaN, which would commit every position


def test_a_threshold_depends_only_on_the_probability_of_the_best_token() -> None:
    """Each position's best token has the probability 0.6, however the rest is distributed."""

    def predict(block: Sequence[int | None]) -> NDArray[np.float32]:
        chances = np.full((block.count(None), 41), 0.01, np.float32)
        chances[:, 3] = 0.6
        return np.log(chances)

    def passes(commit_rule: CommitRule) -> int:
        return denoise(predict, 4, lambda _, t: t == EOT, commit_rule, lambda: True, NO_STEM).passes

    assert passes(CommitRule(threshold(0.5), by_entropy=False)) == 1
    assert passes(CommitRule(threshold(0.7), by_entropy=False)) == 4
    assert passes(CommitRule(entropy_bound(0.5))) == 4
