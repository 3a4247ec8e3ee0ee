"""Decodes by drafting with diffusion and verifying causally, both in each pass (speculative decoding).

The text is what the causal rows alone would write, greedily or with shared noise; drafts only save passes. Drafting and
verifying in one pass is TiDAR's idea (Liu et al. 2025); that it loses nothing is speculative decoding's (Leviathan et
al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.passes import CachedModel
from mercury_lsp.engine.decoding.decode import DecodeBudget, DecodeResult, OnTokens, StopCondition
from mercury_lsp.engine.decoding.healing import Stem
from mercury_lsp.engine.decoding.memory_view import MemoryView
from mercury_lsp.engine.decoding.sampling import Pick, greedy

Scores = NDArray[np.float32]

MEMORY_DRAFT = 12
"""Most tokens of a draft from the project memory."""

UNKNOWN = 0.5
"""Probability of a looked-up token where no canvas stood."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """How `verify` drafts. ``mask``: the mask's id; ``block``: tokens of a canvas.

    ``surety``: a draft goes on while the product of its tokens' probabilities is at least this: each costs ``block +
    2`` rows. ``lookup``: where the last so many tokens stood before, what followed there is the draft instead (prompt
    lookup decoding, Saxena 2023); 0 never. ``slack``: a drafted token holds if the causal rows give it at most so
    many nats less than their likeliest, which must not be an end (a greedy form of Medusa's typical acceptance, Cai
    et al. 2024). ``trust``: a draft that reaches an end and is jointly likelier than this is not verified; 1 never.
    ``canvas_threshold``: a canvas stands only where the draft goes wrong with at least this probability, and at the
    likeliest such place: on a processor its rows cost more than the tokens that it may foretell. ``pick``: which
    token it is by its scores; where that is drawn, a drafted one holds if it is the one that is drawn, so that the
    text is as it would be if each had been drawn after those before it."""

    mask: int
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
    """Draft by diffusion and verify causally: the causal greedy text, but for slack and trust.

    A pass runs ``[known tokens, draft | canvases behind the last known and drafted tokens]``. Its clean rows tell how
    far the draft is what the causal model would have written, and the one token after that, which is known from
    then on. The canvas behind the last right token, denoised all at once, is the next draft. So each pass settles a
    token at least, and the clean rows that hold are in the cache already.

    tail: the prompt's unread end, one token at least; its pass, part of the prefill, also makes the first draft.
    hint: another text's tokens, in which drafts are looked up too. opening: the draft that this first pass verifies.
    first: (1, V) what the prompt's last row foretells, where all of the prompt is in the cache: then the first pass is
    not needed. memory: what the scores are mixed with, and a source of drafts.
    """
    tokens: list[int] = []
    logp: list[float] = []
    hidden = stem.hidden(opening)
    known, draft = list(tail), _without_end(opening, ends.behind(hidden))
    draft = draft[: min(hidden + drafting.block, budget.tokens)]
    odds = [1.0] * len(draft)
    kept: Scores | None = None
    while True:
        begun = kept is not None  # else what is known is the prompt's
        committed = [*tokens, *known] if begun else []
        foretold = Foretold({}, np.empty((0, 1), np.float32))
        if first is not None and not begun:
            causal, opened, draft, odds = first, list(draft), [], []
        else:
            opened = []
            causal, foretold = _run(passes, known, draft, odds, drafting)
        if kept is None:
            kept = causal.copy()
        if memory is not None:
            causal = memory.mix(causal, [*committed, *draft])
        causal = stem.behind(committed).restrict(causal, draft)
        here = ends.behind(stem.hidden([*committed, *draft]))
        right, sure = _held(causal, draft, drafting, here, len(committed))
        if begun or first is None:
            passes.cache.keep([*known, *draft[:right]])
        tokens = [*committed, *draft[:right]]
        logp += [float(causal[i, token]) for i, token in enumerate((*draft[:right], sure))]
        if not begun:
            budget.prefill_ends()
        here = ends.behind(stem.hidden(tokens))
        if here(len(tokens), sure):
            return DecodeResult(tokens, logp, budget.passes, True, kept)
        if len(tokens) >= budget.tokens or not budget.may_go_on():
            return DecodeResult(tokens, logp[:-1], budget.passes, False, kept)
        known = [sure]
        committed = [*tokens, sure]
        left = stem.behind(committed)
        scores = left.restrict(foretold.behind(right))
        before, room = len(committed), max(0, budget.tokens - len(committed))
        likely = drafting.pick(scores, before)
        here = ends.behind(stem.hidden(committed))
        rest = None if left.open else _finished(*likely, drafting.trust, here, before)
        if rest is not None and len(rest.tokens) <= room:
            return DecodeResult([*committed, *rest.tokens], [*logp, *rest.logp], budget.passes, True, kept)
        if opened[:1] == [sure] and len(opened) > 1:
            draft, odds = opened[1:][:room], [1.0] * len(opened[1:][:room])
        else:
            ids = [*passes.cache.ids, sure]
            draft, odds = _draft(ids, committed, hint, scores, likely, drafting, here, memory)
            draft, odds = draft[:room], odds[:room]
        budget.passes += 1
        on_progress(committed, [*draft, *[None] * (drafting.block - 1 - len(draft))], logp)


@dataclass(frozen=True, slots=True)
class Foretold:
    """What the canvases of a pass foretell. ``places``: after how many right drafted tokens which canvas counts."""

    places: dict[int, int]
    scores: Scores  # (canvases * (block - 1), V)

    def behind(self, right: int) -> Scores:
        """What comes behind the token that follows so many right ones (block - 1, V), or (0, V)."""
        each = len(self.scores) // max(1, len(self.places))
        at = self.places.get(right)
        return self.scores[:0] if at is None else self.scores[at * each : (at + 1) * each]


def _run(
    passes: CachedModel, known: Sequence[int], draft: Sequence[int], odds: Sequence[float], drafting: Drafting
) -> tuple[Scores, Foretold]:
    """One pass: what follows the last known token and each drafted one (len(draft) + 1, V), and what the canvases
    foretell behind that."""
    block, clean = drafting.block, [*known, *draft]
    n, first, k = len(clean), len(passes.cache.ids), len(known)
    stops = _stops(odds, drafting.canvas_threshold)
    canvases = (TokenLayout.block(first + k + stop, block, number=stop + 1) for stop in stops)
    masked = [id_ for stop in stops for id_ in (clean[k - 1 + stop], *[drafting.mask] * block)]
    hidden = passes.run([*clean, *masked], TokenLayout.join(TokenLayout.clean(first, n), *canvases))
    behind = [n + i * (block + 1) + row for i in range(len(stops)) for row in range(1, block)]
    scores = passes.scores(hidden[[*range(k - 1, n), *behind]])
    places = {stop: i for i, stop in enumerate(stops)}
    return scores[: len(draft) + 1], Foretold(places, scores[len(draft) + 1 :])


def _stops(odds: Sequence[float], canvas_threshold: float) -> list[int]:
    """After how many drafted tokens, of such probabilities, the draft may be wrong: where that is at least as likely as
    ``canvas_threshold``, or else where it is likeliest."""
    reached, chances = 1.0, []
    for right in (*odds, 0.0):
        chances.append(reached * (1 - right))
        reached *= right
    return [i for i, chance in enumerate(chances) if chance >= canvas_threshold] or [
        chances.index(max(chances))
    ]


def _held(
    scores: NDArray[np.float32], draft: Sequence[int], drafting: Drafting, ends: StopCondition, before: int
) -> tuple[int, int]:
    """How many drafted tokens hold by the causal scores (len(draft) + 1, V), and the one that is right behind them."""
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
    """The likeliest tokens up to the first end, if they and it are jointly likelier than ``trust``."""
    for i, token in enumerate(tokens):
        if math.exp(sum(logp[: i + 1])) <= trust:
            return None
        if ends(before + i, token):
            return DecodeResult(list(tokens[:i]), list(logp[: i + 1]), 0, True)
    return None


def _without_end(draft: Sequence[int], ends: StopCondition) -> list[int]:
    """The tokens that stand before the first end."""
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
    """What to verify behind the known ``ids``, of which ``committed`` are the middle's, and how likely each token is.

    By the hint's or their own repetitions or else by the canvas's scores (n, V), of which ``likely`` is the pick, and
    then again by repetitions; or by the memory, where that foretells more.
    """
    before, most = len(committed), drafting.block - 1
    draft = _possible(_looked_up(ids, hint, drafting.lookup, most), scores, ends, before)
    draft = draft or _confident(*likely, drafting.surety, ends, before)
    left, at = scores[len(draft) :], before + len(draft)
    again = _looked_up([*ids, *draft], hint, drafting.lookup, most - len(draft))
    draft += _possible(again, left, ends, at)
    odds = [math.exp(scores[i, token]) if i < len(scores) else UNKNOWN for i, token in enumerate(draft)]
    if memory is not None:
        remembered, chances = memory.draft(committed, MEMORY_DRAFT)
        remembered = _without_end(remembered, ends.behind(-before))
        chances = chances[: len(remembered)]
        if _expected(chances) > _expected(odds):
            return remembered, chances
    return draft, odds


def _expected(odds: Sequence[float]) -> float:
    """How many tokens of a draft are right on average, by the probability of each."""
    reached, total = 1.0, 0.0
    for chance in odds:
        reached *= chance
        total += reached
    return total


def _looked_up(ids: Sequence[int], hint: Sequence[int], length: int, most: int) -> list[int]:
    """What followed the last ``length`` of ``ids`` in the hint, or else where they themselves stood before."""
    apart = -1  # no token: nothing matches across it
    found = _repeated([*hint, apart, *ids[-length:]], length, most) if hint else []
    return found[: (*found, apart).index(apart)] or _repeated(ids, length, most)


def _confident(
    tokens: Sequence[int], logp: Sequence[float], surety: float, ends: StopCondition, before: int
) -> list[int]:
    """The likeliest tokens from the left while they are likely together, and without an end."""
    draft: list[int] = []
    together = 0.0
    for token, own in zip(tokens, logp, strict=True):
        together += own
        if math.exp(together) < surety or ends(before + len(draft), token):
            break
        draft.append(token)
    return draft


def _repeated(ids: Sequence[int], length: int, most: int) -> list[int]:
    """The tokens, at most so many, that followed the last ``length`` of ``ids`` where these last stood before."""
    if not length or not most:
        return []
    key = list(ids[-length:])
    for at in range(len(ids) - length - 1, -1, -1):
        if list(ids[at : at + length]) == key:
            return list(ids[at + length : at + length + most])
    return []


def _possible(
    draft: Sequence[int], scores: NDArray[np.float32], ends: StopCondition, before: int
) -> list[int]:
    """The tokens of a draft up to the first that is an end or must not be shown, by scores (n, V)."""
    for i, token in enumerate(draft):
        if ends(before + i, token) or (i < len(scores) and float(scores[i, token]) == -math.inf):
            return list(draft[:i])
    return list(draft)
