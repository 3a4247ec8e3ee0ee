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
class Affordable:
    """The drafts that save more time than they cost.

    ``canvases``: whether canvases are among them; for the other fields see `Drafting`.
    """

    canvases: bool
    block: int
    canvas_threshold: float
    surety: float


def affordable(row_cost: float) -> Affordable:
    """Return the drafts that pay at an executor's `Executor.row_cost`.

    A drafted token costs one row, and saves `TOKEN_COST` with the probability that it and all tokens before it are
    accepted. A canvas of three tokens costs four rows and saves about half a token. If rows are almost free, a larger
    canvas stands at every place.
    """
    surety = max(0.1, row_cost / TOKEN_COST)
    if row_cost <= FREE_ROW_COST:
        return Affordable(True, 6, 0.0, surety)
    return Affordable(row_cost <= MAX_CANVAS_ROW_COST, 3, 1.0, surety)


@dataclass(frozen=True, slots=True)
class Drafting:
    """The settings by which `decode_speculative` drafts.

    ``mask``: the mask's id; None without canvases. ``block``: tokens of a canvas. ``surety``: a draft is extended while
    the product of its tokens' probabilities is at least this. ``lookup``: if the last ``lookup`` tokens occurred
    before, their continuation there is the draft (prompt lookup decoding, Saxena 2023); 0 turns this off. ``slack``: a
    drafted token is accepted if its causal log-probability is at most this many nats below the likeliest token's, and
    that token is not a stop token (a greedy form of Medusa's typical acceptance, Cai et al. 2024). ``trust``: a draft
    with a stop token whose joint probability is above this is not verified; 1 verifies all. ``canvas_threshold``: a
    canvas is added at each place where the first rejection has at least this probability, or else at the likeliest such
    place: on a CPU more rows cost more than they save. ``pick``: picks a token by its scores. If ``pick`` samples, a
    drafted token is accepted if it is the sampled one, so that the text is the same as without drafts.
    """

    mask: int | None
    block: int
    surety: float
    lookup: int
    slack: float
    trust: float
    canvas_threshold: float
    pick: Pick = greedy


def decode_speculative(
    passes: CachedModel,
    tail: Sequence[int],
    drafting: Drafting,
    ends: StopCondition,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
    hint: Sequence[int] = (),
    opening: Sequence[int] = (),
    first: Scores | None = None,
    memory: MemoryView | None = None,
) -> DecodeResult:
    """Draft by diffusion and verify causally; without slack and trust the result is the causal text.

    A pass runs ``[known tokens, draft | canvases after the last known and the drafted tokens]``. Its clean rows decide
    how many drafted tokens are accepted, and predict the next token, which the next pass reads as known. The canvas
    after the last accepted token is denoised in one step and is the next draft. So each pass commits at least one
    token, and the accepted clean rows are already in the cache.

    tail: the unread end of the prompt, at least one token; its pass is the end of the prefill and makes the first
    draft. hint: tokens of another text for prompt lookup. opening: the draft that the first pass verifies. first:
    (1, V), the prediction of the prompt's last row if the whole prompt is in the cache; it replaces the first pass.
    memory: mixed with the scores, and a source of drafts.
    """
    tokens: list[int] = []
    logp: list[float] = []
    hidden = stem.hidden(opening)
    known, draft = list(tail), _without_end(opening, ends.after(hidden))
    draft = draft[: min(hidden + drafting.block, budget.max_tokens)]
    odds = [1.0] * len(draft)
    kept: Scores | None = None
    while True:
        # In the first round the known tokens are the prompt's.
        begun = kept is not None
        committed = [*tokens, *known] if begun else []
        foretold = CanvasScores({}, np.empty((0, 1), np.float32))
        if first is not None and not begun:
            causal, opened, draft, odds = first, list(draft), [], []
        else:
            opened = []
            causal, foretold = _run(passes, known, draft, odds, drafting)
        if kept is None:
            kept = causal.copy()
        if memory is not None:
            causal = memory.mix(causal, [*committed, *draft])
        causal = stem.after(committed).restrict(causal, draft)
        here = ends.after(stem.hidden([*committed, *draft]))
        right, sure = _accepted(causal, draft, drafting, here, len(committed))
        if begun or first is None:
            passes.keep([*known, *draft[:right]])
        tokens = [*committed, *draft[:right]]
        logp += [float(causal[i, token]) for i, token in enumerate((*draft[:right], sure))]
        if not begun:
            budget.prefill_ends()
            # Later rows follow a rejected token.
            kept = kept[: right + 1]
        here = ends.after(stem.hidden(tokens))
        if here(len(tokens), sure):
            return DecodeResult(tokens, logp, budget.passes, True, kept)
        if len(tokens) >= budget.max_tokens or not budget.may_go_on():
            return DecodeResult(tokens, logp[:-1], budget.passes, False, kept)
        known = [sure]
        committed = [*tokens, sure]
        left = stem.after(committed)
        scores = left.restrict(foretold.after(right))
        before, room = len(committed), max(0, budget.max_tokens - len(committed))
        likely = drafting.pick(scores, before)
        here = ends.after(stem.hidden(committed))
        rest = None if left.open else _finished(*likely, drafting.trust, here, before)
        if rest is not None and len(rest.tokens) <= room:
            return DecodeResult([*committed, *rest.tokens], [*logp, *rest.logp], budget.passes, True, kept)
        if opened[:1] == [sure] and len(opened) > 1:
            draft, odds = opened[1:][:room], [1.0] * len(opened[1:][:room])
        else:
            ids = [*passes.ids, sure]
            draft, odds = _draft(ids, committed, hint, scores, likely, drafting, here, memory)
            draft, odds = draft[:room], odds[:room]
        budget.passes += 1
        on_progress(committed, [*draft, *[None] * (drafting.block - 1 - len(draft))], logp)


@dataclass(frozen=True, slots=True)
class CanvasScores:
    """The predictions of a pass's canvases: ``scores``, (canvases * (block - 1), V).

    ``places``: the index of each canvas, by the number of accepted draft tokens that it follows.
    """

    places: dict[int, int]
    scores: Scores

    def after(self, right: int) -> Scores:
        """Return the predictions (block - 1, V) after ``right`` accepted tokens and one more; (0, V) without any."""
        each = len(self.scores) // max(1, len(self.places))
        at = self.places.get(right)
        return self.scores[:0] if at is None else self.scores[at * each : (at + 1) * each]


def _run(
    passes: CachedModel, known: Sequence[int], draft: Sequence[int], odds: Sequence[float], drafting: Drafting
) -> tuple[Scores, CanvasScores]:
    """Run one pass over the known tokens, the draft and its canvases.

    Returns the predictions after the last known token and after each drafted token, (len(draft) + 1, V), and the
    canvases' predictions.
    """
    block, clean = drafting.block, [*known, *draft]
    n, first, k = len(clean), len(passes.ids), len(known)
    if drafting.mask is None:
        scores = passes.scores(passes.run(clean, TokenLayout.clean(first, n))[k - 1 :])
        return scores, CanvasScores({}, scores[:0])
    stops = _stops(odds, drafting.canvas_threshold)
    canvases = (TokenLayout.block(first + k + stop, block, number=stop + 1) for stop in stops)
    masked = [id_ for stop in stops for id_ in (clean[k - 1 + stop], *[drafting.mask] * block)]
    hidden = passes.run([*clean, *masked], TokenLayout.join(TokenLayout.clean(first, n), *canvases))
    canvas_rows = [n + i * (block + 1) + row for i in range(len(stops)) for row in range(1, block)]
    scores = passes.scores(hidden[[*range(k - 1, n), *canvas_rows]])
    places = {stop: i for i, stop in enumerate(stops)}
    return scores[: len(draft) + 1], CanvasScores(places, scores[len(draft) + 1 :])


def _stops(odds: Sequence[float], canvas_threshold: float) -> list[int]:
    """Return the numbers of drafted tokens after which a canvas is added.

    These are the places where the first rejection has at least the probability ``canvas_threshold``, or else the
    likeliest place. odds: the probability of each drafted token.
    """
    reached, chances = 1.0, []
    for right in (*odds, 0.0):
        chances.append(reached * (1 - right))
        reached *= right
    likely = [i for i, chance in enumerate(chances) if chance >= canvas_threshold]
    return likely or [chances.index(max(chances))]


def _accepted(
    scores: NDArray[np.float32], draft: Sequence[int], drafting: Drafting, ends: StopCondition, before: int
) -> tuple[int, int]:
    """Return the number of drafted tokens that the causal scores (len(draft) + 1, V) accept, and the next token."""
    wanted, best = drafting.pick(scores, before)
    slack = drafting.slack
    for i, token in enumerate(draft):
        wrong = not slack or best[i] - float(scores[i, token]) > slack or ends(before + i, wanted[i])
        if token != wanted[i] and wrong:
            return i, wanted[i]
    return len(draft), wanted[-1]


def _finished(
    tokens: Sequence[int], logp: Sequence[float], trust: float, ends: StopCondition, before: int
) -> DecodeResult | None:
    """Return the likeliest tokens up to the first stop token, if their joint probability is above ``trust``."""
    for i, token in enumerate(tokens):
        if math.exp(sum(logp[: i + 1])) <= trust:
            return None
        if ends(before + i, token):
            return DecodeResult(list(tokens[:i]), list(logp[: i + 1]), 0, True)
    return None


def _without_end(draft: Sequence[int], ends: StopCondition) -> list[int]:
    return list(draft[: next((i for i, token in enumerate(draft) if ends(i, token)), len(draft))])


def _draft(
    ids: Sequence[int],
    committed: Sequence[int],
    hint: Sequence[int],
    scores: Scores,
    likely: tuple[Sequence[int], Sequence[float]],
    drafting: Drafting,
    ends: StopCondition,
    memory: MemoryView | None,
) -> tuple[list[int], list[float]]:
    """Return the next draft after the known ``ids``, and the probability of each of its tokens.

    The draft is looked up in the hint or in ``ids``, or else taken from the canvas's scores (n, V), and then extended
    by lookup. The memory's draft replaces it if more of its tokens are expected to be accepted. committed: the end of
    ``ids`` that belongs to the middle. likely: the picked tokens of ``scores`` and their log-probabilities.
    """
    before, most = len(committed), drafting.block - 1
    draft = _allowed_start(_looked_up(ids, hint, drafting.lookup, most), scores, ends, before)
    draft = draft or _confident(*likely, drafting.surety, ends, before)
    left, at = scores[len(draft) :], before + len(draft)
    again = _looked_up([*ids, *draft], hint, drafting.lookup, most - len(draft))
    draft += _allowed_start(again, left, ends, at)
    odds = [
        math.exp(scores[i, token]) if i < len(scores) else LOOKED_UP_PROBABILITY
        for i, token in enumerate(draft)
    ]
    if memory is not None:
        remembered, chances = memory.draft(committed, MAX_MEMORY_DRAFT_TOKENS)
        remembered = _without_end(remembered, ends.after(-before))
        chances = chances[: len(remembered)]
        if _expected(chances) > _expected(odds):
            count = _worthwhile(chances, drafting.surety)
            return remembered[:count], chances[:count]
    return draft, odds


def _worthwhile(odds: Sequence[float], surety: float) -> int:
    """Return how many tokens of a draft are accepted with at least the probability ``surety``, from the left."""
    reached = list(accumulate(odds, mul))
    return next((i for i, chance in enumerate(reached) if chance < surety), len(reached))


def _expected(odds: Sequence[float]) -> float:
    """Return the expected number of accepted tokens of a draft, by its tokens' probabilities."""
    return sum(accumulate(odds, mul), 0.0)


def _looked_up(ids: Sequence[int], hint: Sequence[int], length: int, most: int) -> list[int]:
    """Return what follows the last ``length`` of ``ids`` in the hint, or else at their last occurrence in ``ids``."""
    # A separator that is no token id, so that no match crosses it.
    apart = -1
    hinted = _repeated([*hint, apart, *ids[-length:]], length, most) if hint else []
    return hinted[: (*hinted, apart).index(apart)] or _repeated(ids, length, most)


def _confident(
    tokens: Sequence[int], logp: Sequence[float], surety: float, ends: StopCondition, before: int
) -> list[int]:
    """Return the likeliest tokens before a stop token, while their joint probability is at least ``surety``."""
    draft: list[int] = []
    together = 0.0
    for token, own in zip(tokens, logp, strict=True):
        together += own
        if math.exp(together) < surety or ends(before + len(draft), token):
            break
        draft.append(token)
    return draft


def _repeated(ids: Sequence[int], length: int, most: int) -> list[int]:
    """Return at most ``most`` tokens that followed the previous occurrence of the last ``length`` of ``ids``."""
    if not length or not most:
        return []
    key = list(ids[-length:])
    for at in range(len(ids) - length - 1, -1, -1):
        if list(ids[at : at + length]) == key:
            return list(ids[at + length : at + length + most])
    return []


def _allowed_start(
    draft: Sequence[int], scores: NDArray[np.float32], ends: StopCondition, before: int
) -> list[int]:
    """Return the tokens of a draft before its first stop token, or first token that is forbidden by scores (n, V)."""
    for i, token in enumerate(draft):
        if ends(before + i, token) or (i < len(scores) and float(scores[i, token]) == -math.inf):
            return list(draft[:i])
    return list(draft)
