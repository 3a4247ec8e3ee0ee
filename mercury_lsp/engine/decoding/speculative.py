"""Decodes by drafting with diffusion and verifying causally in the same pass (speculative decoding).

The text is what the causal rows alone would write, greedily or with shared noise; drafts only save passes. Drafting and
verifying in one pass: TiDAR (Liu et al. 2025). That speculative decoding loses nothing: Leviathan et al. 2023.
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
"""The `Drafting.block` where there are no canvases: a draft that is looked up has one token less."""

LOOKED_UP_PROBABILITY = 0.5
"""The assumed probability of a looked-up token without a canvas."""

FREE_ROW_COST, MAX_CANVAS_ROW_COST = 0.02, 0.12
"""The row costs, see `Executor`, up to which canvases stand at each place, and up to which there is one."""

TOKEN_COST = 0.8
"""What a token costs without a draft, in passes of one row: most passes commit one token, some more."""


@dataclass(frozen=True, slots=True)
class Affordable:
    """The drafts that save more time than they cost. ``canvases``: whether any pay; the others: see `Drafting`."""

    canvases: bool
    block: int
    canvas_threshold: float
    surety: float


def affordable(row_cost: float) -> Affordable:
    """The drafts for an executor's row cost.

    A token that is reached and right with the probability p saves p tokens' costs, and costs a row. A canvas of three
    tokens costs four rows and saves about half a token; where rows cost nothing, larger ones stand at each place.
    """
    surety = max(0.1, row_cost / TOKEN_COST)
    if row_cost <= FREE_ROW_COST:
        return Affordable(True, 6, 0.0, surety)
    return Affordable(row_cost <= MAX_CANVAS_ROW_COST, 3, 1.0, surety)


@dataclass(frozen=True, slots=True)
class Drafting:
    """How `decode_speculative` drafts. ``mask``: the mask's id, None without canvases; ``block``: tokens of a canvas.

    ``surety``: a draft goes on while the product of its tokens' probabilities is at least this; each token costs
    ``block + 2`` rows. ``lookup``: if the last so many tokens occurred before, their continuation there is the draft
    (prompt lookup decoding, Saxena 2023); 0 never. ``slack``: a drafted token is accepted if the causal rows give it at
    most so many nats less than their likeliest token, which must not be a stop token (a greedy form of Medusa's typical
    acceptance, Cai et al. 2024). ``trust``: a draft with a stop token whose joint probability is above this is not
    verified; 1 never. ``canvas_threshold``: a canvas is added at each place at which the draft goes wrong with at least
    this probability, or at the likeliest such place: on a CPU more rows cost more than their tokens save. ``pick``:
    picks a token by its scores. If it draws, a drafted token is accepted if it is the drawn one, so that the text is
    the same as if each token were drawn in turn.
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

    A pass runs ``[known tokens, draft | canvases after the last known and the drafted tokens]``. Its clean rows tell
    how many drafted tokens are accepted, and the next token, which is known from then on. The canvas after the
    last accepted token, denoised at once, is the next draft. So each pass commits at least one token, and the accepted
    clean rows are already in the cache.

    tail: the prompt's unread end, at least one token; its pass, part of the prefill, also makes the first draft.
    hint: tokens of another text, in which drafts are looked up too. opening: the draft that the first pass verifies.
    first: (1, V), the prediction of the prompt's last row, if all of the prompt is in the cache; then the first pass is
    not needed. memory: mixed with the scores, and a source of drafts.
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
            # Later rows are given a token that was rejected.
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

    ``places``: the index of a canvas by the number of accepted tokens after which it counts.
    """

    places: dict[int, int]
    scores: Scores

    def after(self, right: int) -> Scores:
        """The predictions after the token that follows ``right`` accepted ones, (block - 1, V), or (0, V)."""
        each = len(self.scores) // max(1, len(self.places))
        at = self.places.get(right)
        return self.scores[:0] if at is None else self.scores[at * each : (at + 1) * each]


def _run(
    passes: CachedModel, known: Sequence[int], draft: Sequence[int], odds: Sequence[float], drafting: Drafting
) -> tuple[Scores, CanvasScores]:
    """Run one pass: the predictions after the last known token and each drafted one, (len(draft) + 1, V), and the
    canvases' predictions."""
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
    """After how many drafted tokens, of such probabilities, a canvas pays: at each place at which the draft goes wrong
    with at least the probability ``canvas_threshold``, or else at the likeliest place."""
    reached, chances = 1.0, []
    for right in (*odds, 0.0):
        chances.append(reached * (1 - right))
        reached *= right
    likely = [i for i, chance in enumerate(chances) if chance >= canvas_threshold]
    return likely or [chances.index(max(chances))]


def _accepted(
    scores: NDArray[np.float32], draft: Sequence[int], drafting: Drafting, ends: StopCondition, before: int
) -> tuple[int, int]:
    """How many drafted tokens the causal scores (len(draft) + 1, V) accept, and the token after them."""
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
    """The likeliest tokens up to the first stop token, if their joint probability is above ``trust``."""
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
    """The next draft after the known ``ids``, of which ``committed`` are the middle's, and each token's probability.

    The sources are repetitions in the hint or in ``ids``, else the canvas's scores (n, V), of which ``likely`` is the
    pick, and then repetitions again; or the memory, if it promises more tokens.
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
    """The tokens of a draft, from the left, that are reached and right with at least the probability ``surety``."""
    reached = list(accumulate(odds, mul))
    return next((i for i, chance in enumerate(reached) if chance < surety), len(reached))


def _expected(odds: Sequence[float]) -> float:
    """The expected number of accepted tokens of a draft, by the probability of each."""
    return sum(accumulate(odds, mul), 0.0)


def _looked_up(ids: Sequence[int], hint: Sequence[int], length: int, most: int) -> list[int]:
    """The continuation of the last ``length`` of ``ids`` in the hint, or else of their last occurrence in ``ids``."""
    # No token, so that nothing matches across it.
    apart = -1
    hinted = _repeated([*hint, apart, *ids[-length:]], length, most) if hint else []
    return hinted[: (*hinted, apart).index(apart)] or _repeated(ids, length, most)


def _confident(
    tokens: Sequence[int], logp: Sequence[float], surety: float, ends: StopCondition, before: int
) -> list[int]:
    """The likeliest tokens from the left while their joint probability is at least ``surety``, without a stop token."""
    draft: list[int] = []
    together = 0.0
    for token, own in zip(tokens, logp, strict=True):
        together += own
        if math.exp(together) < surety or ends(before + len(draft), token):
            break
        draft.append(token)
    return draft


def _repeated(ids: Sequence[int], length: int, most: int) -> list[int]:
    """At most ``most`` tokens that followed the previous occurrence of the last ``length`` of ``ids``."""
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
    """The tokens of a draft before the first stop token or forbidden token, by scores (n, V)."""
    for i, token in enumerate(draft):
        if ends(before + i, token) or (i < len(scores) and float(scores[i, token]) == -math.inf):
            return list(draft[:i])
    return list(draft)
