"""Decodes by drafting with diffusion and verifying causally in the same pass (speculative decoding).

The text is the one that the causal rows alone would decode, greedily or with the same noise; drafts only save passes.
Drafting and verifying in one pass follows TiDAR (Liu et al. 2025). Leviathan et al. 2023 show that speculative decoding
does not change the output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.kv_cache import CachedModel
from mercury_lsp.engine.decoding.decode import DecodeBudget, DecodeResult, OnTokens, StopCondition
from mercury_lsp.engine.decoding.healing import Stem
from mercury_lsp.engine.decoding.memory_view import MemoryView
from mercury_lsp.engine.decoding.sampling import Pick, greedy

Scores = NDArray[np.float32]

MAX_MEMORY_DRAFT_TOKENS = 12
"""The most tokens of a draft from the project memory."""

DRAFT_TOKENS = 9
"""The `Drafting.block` without canvases; looked-up drafts have at most one token less."""

LOOKED_UP_PROBABILITY = 0.5
"""The assumed probability of a looked-up token that no canvas predicts."""

FREE_ROW_COST, MAX_CANVAS_ROW_COST = 0.02, 0.12
"""The `Executor.row_cost` up to which a pass has a canvas at every place, and up to which it has one canvas."""

TOKEN_COST = 0.8
"""The cost of a token that is not drafted, in passes of one row; below 1, because some passes commit more tokens."""


@dataclass(frozen=True, slots=True)
class DraftDefaults:
    """The default drafts of a device, which save more time than they cost.

    ``canvases``: whether canvases are among them; for the other fields see `Drafting`.
    """

    canvases: bool
    block: int
    canvas_threshold: float
    min_probability: float


def draft_defaults(row_cost: float) -> DraftDefaults:
    """Return the drafts that pay at an executor's `Executor.row_cost`.

    A drafted token costs one row, and saves `TOKEN_COST` with the probability that it and all tokens before it are
    accepted. A canvas of three tokens costs four rows and saves about half a token. If rows are almost free, a larger
    canvas stands at every place.
    """
    min_probability = max(0.1, row_cost / TOKEN_COST)
    if row_cost <= FREE_ROW_COST:
        return DraftDefaults(True, 6, 0.0, min_probability)
    return DraftDefaults(row_cost <= MAX_CANVAS_ROW_COST, 3, 1.0, min_probability)


@dataclass(frozen=True, slots=True)
class Drafting:
    """The settings by which `decode_speculative` drafts.

    ``mask``: the mask's id; None without canvases. ``block``: tokens of a canvas. ``min_probability``: a draft is
    extended while the product of its tokens' probabilities is at least this. ``lookup``: if the last ``lookup`` tokens
    occurred before, their continuation there is the draft (prompt lookup decoding, Saxena 2023); 0 turns this off.
    ``slack``: a drafted token is accepted if its causal log-probability is at most this many nats below the likeliest
    token's, and that token is not a stop token (a greedy form of Medusa's typical acceptance, Cai et al. 2024).
    ``trust``: a draft with a stop token whose joint probability is above this is not verified; 1 verifies all.
    ``canvas_threshold``: a canvas is added at each place where the first rejection has at least this probability, or
    else at the likeliest such place: on a CPU more rows cost more than they save. ``pick``: picks a token by its
    scores. If ``pick`` samples, a drafted token is accepted if it is the sampled one, so that the text is the same as
    without drafts.
    """

    mask: int | None
    block: int
    min_probability: float
    lookup: int
    slack: float
    trust: float
    canvas_threshold: float
    pick: Pick = greedy


def decode_speculative(
    model: CachedModel,
    prompt_tail: Sequence[int],
    drafting: Drafting,
    stop: StopCondition,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
    hint: Sequence[int] = (),
    initial_draft: Sequence[int] = (),
    prompt_scores: Scores | None = None,
    memory: MemoryView | None = None,
) -> DecodeResult:
    """Draft by diffusion and verify causally; without slack and trust the result is the causal text.

    A pass runs ``[known tokens, draft | canvases after the last known and the drafted tokens]``. Its clean rows decide
    how many drafted tokens are accepted, and predict the next token, which the next pass reads as known. The canvas
    after the last accepted token is denoised in one step and is the next draft. So each pass commits at least one
    token, and the accepted clean rows are already in the cache.

    prompt_tail: the unread end of the prompt, at least one token; its pass is the end of the prefill and makes the next
    draft. hint: tokens of another text for prompt lookup. initial_draft: the draft that the first pass verifies.
    prompt_scores: (1, V), the prediction of the prompt's last row if the whole prompt is in the cache; it replaces the
    first pass. memory: mixed with the scores, and a source of drafts.
    """
    tokens: list[int] = []
    logp: list[float] = []
    hidden = stem.count_hidden(initial_draft)
    known, draft = list(prompt_tail), _before_stop(initial_draft, stop.after_stem(hidden))
    draft = draft[: min(hidden + drafting.block, budget.max_tokens)]
    probabilities = [1.0] * len(draft)
    first_scores: Scores | None = None
    while True:
        # In the first round the known tokens are the prompt's.
        is_first_round = first_scores is None
        committed = [] if is_first_round else [*tokens, *known]
        canvas_scores = CanvasScores({}, np.empty((0, 1), np.float32))
        if prompt_scores is not None and is_first_round:
            causal_scores, postponed, draft, probabilities = prompt_scores, list(draft), [], []
        else:
            postponed = []
            causal_scores, canvas_scores = _run_pass(model, known, draft, probabilities, drafting)
        if first_scores is None:
            first_scores = causal_scores.copy()
        if memory is not None:
            causal_scores = memory.mix(causal_scores, [*committed, *draft])
        causal_scores = stem.after(committed).restrict(causal_scores, draft)
        is_stop = stop.after_stem(stem.count_hidden([*committed, *draft]))
        accepted, next_token = _verify(causal_scores, draft, drafting, is_stop, len(committed))
        if not is_first_round or prompt_scores is None:
            model.keep([*known, *draft[:accepted]])
        tokens = [*committed, *draft[:accepted]]
        logp += [float(causal_scores[i, token]) for i, token in enumerate((*draft[:accepted], next_token))]
        if is_first_round:
            budget.mark_prefilled()
            # Later rows follow a rejected token.
            first_scores = first_scores[: accepted + 1]
        is_stop = stop.after_stem(stem.count_hidden(tokens))
        if is_stop(len(tokens), next_token):
            return DecodeResult(tokens, logp, budget.passes, True, first_scores)
        if len(tokens) >= budget.max_tokens or not budget.allows_pass():
            return DecodeResult(tokens, logp[:-1], budget.passes, False, first_scores)
        known = [next_token]
        committed = [*tokens, next_token]
        remaining_stem = stem.after(committed)
        scores = remaining_stem.restrict(canvas_scores.after(accepted))
        index, tokens_left = len(committed), max(0, budget.max_tokens - len(committed))
        predicted = drafting.pick(scores, index)
        is_stop = stop.after_stem(stem.count_hidden(committed))
        ending = (
            None if remaining_stem.is_open else _trusted_ending(*predicted, drafting.trust, is_stop, index)
        )
        if ending is not None and len(ending.tokens) <= tokens_left:
            return DecodeResult(
                [*committed, *ending.tokens], [*logp, *ending.logp], budget.passes, True, first_scores
            )
        if postponed[:1] == [next_token] and len(postponed) > 1:
            draft = postponed[1:][:tokens_left]
            probabilities = [1.0] * len(draft)
        else:
            ids = [*model.ids, next_token]
            draft, probabilities = _next_draft(
                ids, committed, hint, scores, predicted, drafting, is_stop, memory
            )
            draft, probabilities = draft[:tokens_left], probabilities[:tokens_left]
        budget.passes += 1
        on_progress(committed, [*draft, *[None] * (drafting.block - 1 - len(draft))], logp)


@dataclass(frozen=True, slots=True)
class CanvasScores:
    """The predictions of a pass's canvases: ``scores``, (canvases * (block - 1), V).

    ``places``: the index of each canvas, by the number of accepted draft tokens that it follows.
    """

    places: dict[int, int]
    scores: Scores

    def after(self, accepted: int) -> Scores:
        """Return the predictions (block - 1, V) after ``accepted`` tokens and one more; (0, V) without any."""
        size = len(self.scores) // max(1, len(self.places))
        index = self.places.get(accepted)
        return self.scores[:0] if index is None else self.scores[index * size : (index + 1) * size]


def _run_pass(
    model: CachedModel,
    known: Sequence[int],
    draft: Sequence[int],
    probabilities: Sequence[float],
    drafting: Drafting,
) -> tuple[Scores, CanvasScores]:
    """Run one pass over the known tokens, the draft and its canvases.

    Returns the predictions after the last known token and after each drafted token, (len(draft) + 1, V), and the
    canvases' predictions.
    """
    block, clean = drafting.block, [*known, *draft]
    n, first, k = len(clean), len(model.ids), len(known)
    if drafting.mask is None:
        scores = model.scores(model.run(clean, TokenLayout.clean(first, n))[k - 1 :])
        return scores, CanvasScores({}, scores[:0])
    places = _canvas_places(probabilities, drafting.canvas_threshold)
    canvases = (TokenLayout.block(first + k + place, block, number=place + 1) for place in places)
    masked = [id_ for place in places for id_ in (clean[k - 1 + place], *[drafting.mask] * block)]
    hidden = model.run([*clean, *masked], TokenLayout.join(TokenLayout.clean(first, n), *canvases))
    canvas_rows = [n + i * (block + 1) + row for i in range(len(places)) for row in range(1, block)]
    scores = model.scores(hidden[[*range(k - 1, n), *canvas_rows]])
    index_of = {place: i for i, place in enumerate(places)}
    return scores[: len(draft) + 1], CanvasScores(index_of, scores[len(draft) + 1 :])


def _canvas_places(probabilities: Sequence[float], canvas_threshold: float) -> list[int]:
    """Return the numbers of drafted tokens after which a canvas is added.

    These are the places where the first rejection has at least the probability ``canvas_threshold``, or else the
    likeliest place. probabilities: of each drafted token.
    """
    all_accepted, first_rejection = 1.0, []
    for probability in (*probabilities, 0.0):
        first_rejection.append(all_accepted * (1 - probability))
        all_accepted *= probability
    likely = [i for i, probability in enumerate(first_rejection) if probability >= canvas_threshold]
    return likely or [first_rejection.index(max(first_rejection))]


def _verify(
    scores: Scores, draft: Sequence[int], drafting: Drafting, is_stop: StopCondition, index: int
) -> tuple[int, int]:
    """Return the number of drafted tokens that the causal scores (len(draft) + 1, V) accept, and the next token.

    index: the number of tokens before the draft.
    """
    picked, best_logp = drafting.pick(scores, index)
    slack = drafting.slack
    for i, token in enumerate(draft):
        too_unlikely = (
            not slack or best_logp[i] - float(scores[i, token]) > slack or is_stop(index + i, picked[i])
        )
        if token != picked[i] and too_unlikely:
            return i, picked[i]
    return len(draft), picked[-1]


def _trusted_ending(
    tokens: Sequence[int], logp: Sequence[float], trust: float, is_stop: StopCondition, index: int
) -> DecodeResult | None:
    """Return the likeliest tokens up to the first stop token, if their joint probability is above ``trust``."""
    for i, token in enumerate(tokens):
        if math.exp(sum(logp[: i + 1])) <= trust:
            return None
        if is_stop(index + i, token):
            return DecodeResult(list(tokens[:i]), list(logp[: i + 1]), 0, True)
    return None


def _before_stop(draft: Sequence[int], is_stop: StopCondition) -> list[int]:
    return list(draft[: next((i for i, token in enumerate(draft) if is_stop(i, token)), len(draft))])


def _next_draft(
    ids: Sequence[int],
    committed: Sequence[int],
    hint: Sequence[int],
    scores: Scores,
    predicted: tuple[Sequence[int], Sequence[float]],
    drafting: Drafting,
    is_stop: StopCondition,
    memory: MemoryView | None,
) -> tuple[list[int], list[float]]:
    """Return the next draft after the known ``ids``, and the probability of each of its tokens.

    The draft is looked up in the hint or in ``ids``, or else taken from the canvas's scores (n, V), and then extended
    by lookup. The memory's draft replaces it if more of its tokens are expected to be accepted. committed: the end of
    ``ids`` that belongs to the middle. predicted: the picked tokens of ``scores`` and their log-probabilities.
    """
    index, max_tokens = len(committed), drafting.block - 1
    draft = _allowed_start(_look_up(ids, hint, drafting.lookup, max_tokens), scores, is_stop, index)
    draft = draft or _likely_start(*predicted, drafting.min_probability, is_stop, index)
    extension = _look_up([*ids, *draft], hint, drafting.lookup, max_tokens - len(draft))
    draft += _allowed_start(extension, scores[len(draft) :], is_stop, index + len(draft))
    probabilities = [
        math.exp(scores[i, token]) if i < len(scores) else LOOKED_UP_PROBABILITY
        for i, token in enumerate(draft)
    ]
    if memory is not None:
        memory_draft, memory_probabilities = memory.draft(committed, MAX_MEMORY_DRAFT_TOKENS)
        memory_draft = _before_stop(memory_draft, is_stop.after_stem(-index))
        memory_probabilities = memory_probabilities[: len(memory_draft)]
        if _expected_accepted(memory_probabilities) > _expected_accepted(probabilities):
            length = _likely_length(memory_probabilities, drafting.min_probability)
            return memory_draft[:length], memory_probabilities[:length]
    return draft, probabilities


def _likely_length(probabilities: Sequence[float], min_probability: float) -> int:
    """Return how many tokens of a draft are accepted together with at least a joint probability."""
    joint = list(accumulate(probabilities, mul))
    return next((i for i, probability in enumerate(joint) if probability < min_probability), len(joint))


def _expected_accepted(probabilities: Sequence[float]) -> float:
    """Return the expected number of accepted tokens of a draft, by its tokens' probabilities."""
    return sum(accumulate(probabilities, mul), 0.0)


def _look_up(ids: Sequence[int], hint: Sequence[int], length: int, max_tokens: int) -> list[int]:
    """Return what follows the last ``length`` of ``ids`` in the hint, or else at their last occurrence in ``ids``."""
    # No token id, so that no match crosses it.
    separator = -1
    in_hint = _continuation([*hint, separator, *ids[-length:]], length, max_tokens) if hint else []
    return in_hint[: (*in_hint, separator).index(separator)] or _continuation(ids, length, max_tokens)


def _likely_start(
    tokens: Sequence[int], logp: Sequence[float], min_probability: float, is_stop: StopCondition, index: int
) -> list[int]:
    """Return the likeliest tokens before a stop token, while their joint probability is at least a minimum."""
    draft: list[int] = []
    joint_logp = 0.0
    for token, token_logp in zip(tokens, logp, strict=True):
        joint_logp += token_logp
        if math.exp(joint_logp) < min_probability or is_stop(index + len(draft), token):
            break
        draft.append(token)
    return draft


def _continuation(ids: Sequence[int], length: int, max_tokens: int) -> list[int]:
    """Return at most ``max_tokens`` that followed the previous occurrence of the last ``length`` of ``ids``."""
    if not length or not max_tokens:
        return []
    key = list(ids[-length:])
    for start in range(len(ids) - length - 1, -1, -1):
        end = start + length
        if list(ids[start:end]) == key:
            return list(ids[end : end + max_tokens])
    return []


def _allowed_start(draft: Sequence[int], scores: Scores, is_stop: StopCondition, index: int) -> list[int]:
    """Return the tokens of a draft before its first stop token, or first token that is forbidden by scores (n, V)."""
    for i, token in enumerate(draft):
        if is_stop(index + i, token) or (i < len(scores) and float(scores[i, token]) == -math.inf):
            return list(draft[:i])
    return list(draft)
