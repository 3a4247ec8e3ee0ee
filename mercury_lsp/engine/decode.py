"""Three ways to decode a middle behind a prompt that has been read, all with the same weights.

Owns their loops over passes. `verify` is the default: diffusion drafts, the causal rows of the next pass verify.
`refine` is plain block diffusion, where entropy alone decides what is committed. `spell` is the autoregressive
baseline. Knows passes and tokens; neither prompts nor text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.denoise import Settle, denoise
from mercury_lsp.engine.passes import Passes
from mercury_lsp.engine.rows import Rows
from mercury_lsp.engine.sample import Pick, greedy
from mercury_lsp.engine.worker import Cancelled

Watch = Callable[[Sequence[int], Sequence[int | None], Sequence[float]], None]
"""Told of each draft: the settled tokens, those behind them, None where undecided, and the settled ones' logp."""


@dataclass(frozen=True, slots=True)
class Middle:
    """Decoded tokens without their end. ``logp``: theirs, and the end's if they ``finished``; ``steps``: rounds of
    drafting or choosing, a pass each, without the passes that only read."""

    tokens: list[int]
    logp: list[float]
    steps: int
    finished: bool


@dataclass(slots=True)
class Limit:
    """Counts the passes of one decoding and says when to stop."""

    most: int
    tokens: int
    cancelled: Callable[[], bool]
    passes: int = 0
    prefilled: float = 0.0

    def prefill_ends(self) -> None:
        """The prompt has been read; the passes from here on count."""
        self.prefilled = time.perf_counter()

    def may_go_on(self) -> bool:
        """Asked before each pass. Raises `Cancelled`."""
        if self.cancelled():
            raise Cancelled
        return self.passes < self.most


@dataclass(frozen=True, slots=True)
class Ends:
    """One of ``tokens`` ends a middle; where one line is wanted, so does a line's end behind its first token.

    ``before``: tokens of the middle that stand before those which are decoded.
    """

    tokens: frozenset[int]
    newlines: frozenset[int]
    before: int = 0

    def __call__(self, index: int, token: int) -> bool:
        """Whether ``token`` ends the text when ``index`` decoded tokens stand before it."""
        return token in self.tokens or (index + self.before > 0 and token in self.newlines)


@dataclass(frozen=True, slots=True)
class Drafting:
    """How `verify` drafts. ``mask``: the mask's id; ``block``: tokens of a canvas.

    ``surety``: a draft goes on while the product of its tokens' probabilities is at least this: each costs
    ``block + 2`` rows. ``lookup``: where the last so many tokens stood before, what followed there is the draft instead
    (prompt lookup decoding, Saxena 2023); 0 never. ``slack``: a drafted token holds if the causal rows give it at most
    so many nats less than their likeliest, which must not be an end (a greedy form of Medusa's typical acceptance, Cai
    et al. 2024). ``trust``: a draft that reaches an end and is jointly likelier than this is not verified; 1 never.
    ``hedge``: a canvas stands only where the draft goes wrong with at least this probability, and at the likeliest such
    place: on a processor its rows cost more than the tokens that it may foretell. ``pick``: which token it is by its
    scores; where that is drawn, a drafted one holds if it is the one that is drawn, so that the text is as it would be
    if each had been drawn after those before it.
    """

    mask: int
    block: int
    surety: float
    lookup: int
    slack: float
    trust: float
    hedge: float
    pick: Pick = greedy


def verify(
    passes: Passes,
    tail: Sequence[int],
    drafting: Drafting,
    ends: Ends,
    limit: Limit,
    watch: Watch,
    hint: Sequence[int] = (),
    opening: Sequence[int] = (),
) -> Middle:
    """Draft by diffusion and verify causally, both in each pass: the causal greedy text, but for slack and trust.

    A pass runs ``[known tokens, draft | canvases behind the last known and drafted tokens]``. Its clean rows tell how
    far the draft is what the causal model would have written, and the one token after that, which is known from
    then on. The canvas behind the last right token, denoised all at once, is the next draft. So each pass settles a
    token at least, and the clean rows that hold are in the cache already. Drafting and verifying in one pass is
    TiDAR's idea (Liu et al. 2025); that it loses nothing is speculative decoding's (Leviathan et al. 2023).

    tail: the prompt's unread end, one token at least; its pass, part of the prefill, also makes the first draft.
    hint: another text's tokens, in which drafts are looked up too. opening: the draft that this first pass verifies.
    """
    block = drafting.block
    tokens: list[int] = []
    logp: list[float] = []
    known, draft = list(tail), _without_end(opening[: min(block, limit.tokens)], ends)
    odds = [1.0] * len(draft)
    while True:
        clean = [*known, *draft]
        n, first, k = len(clean), len(passes.cache.ids), len(known)
        stops = _stops(odds, drafting.hedge)
        canvases = (Rows.block(first + k + stop, block, number=stop + 1) for stop in stops)
        masked = [id_ for stop in stops for id_ in (clean[k - 1 + stop], *[drafting.mask] * block)]
        hidden = passes.run([*clean, *masked], Rows.join(Rows.clean(first, n), *canvases))
        # What follows the last known token and each drafted one, and what each canvas foretells behind that.
        behind = [n + i * (block + 1) + row for i in range(len(stops)) for row in range(1, block)]
        scores = passes.scores(hidden[[*range(k - 1, n), *behind]])
        begun = bool(limit.passes)  # else what was known is the prompt's
        at = len(tokens) + (k if begun else 0)
        right, sure = _held(scores[: len(draft) + 1], draft, drafting, ends, at)
        passes.cache.keep(clean[: k + right])
        tokens += clean[0 if begun else k : k + right]
        logp += [float(scores[i, token]) for i, token in enumerate((*draft[:right], sure))]
        if not begun:
            limit.prefill_ends()
        if ends(len(tokens), sure):
            return Middle(tokens, logp, limit.passes, True)
        if len(tokens) >= limit.tokens or not limit.may_go_on():
            return Middle(tokens, logp[:-1], limit.passes, False)
        at = len(draft) + 1 + (stops.index(right) * (block - 1) if right in stops else len(behind))
        foretold = scores[at : at + block - 1]  # (block - 1, V), or none
        before, room = len(tokens) + 1, max(0, limit.tokens - len(tokens) - 1)
        likely = drafting.pick(foretold, before)
        rest = _finished(*likely, drafting.trust, ends, before)
        if rest is not None and len(rest.tokens) <= room:
            return Middle([*tokens, sure, *rest.tokens], [*logp, *rest.logp], limit.passes, True)
        draft = _draft([*passes.cache.ids, sure], hint, foretold, likely, drafting, ends, before)[:room]
        odds = [math.exp(foretold[i, token]) for i, token in enumerate(draft)]
        known = [sure]
        limit.passes += 1
        watch([*tokens, sure], [*draft, *[None] * (block - 1 - len(draft))], logp)


def _stops(odds: Sequence[float], hedge: float) -> list[int]:
    """After how many drafted tokens, of such probabilities, the draft may be wrong: where that is at least as likely as
    ``hedge``, or else where it is likeliest."""
    reached, chances = 1.0, []
    for right in (*odds, 0.0):
        chances.append(reached * (1 - right))
        reached *= right
    return [i for i, chance in enumerate(chances) if chance >= hedge] or [chances.index(max(chances))]


def _held(
    scores: NDArray[np.float32], draft: Sequence[int], drafting: Drafting, ends: Ends, before: int
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
    tokens: Sequence[int], logp: Sequence[float], trust: float, ends: Ends, before: int
) -> Middle | None:
    """The likeliest tokens up to the first end, if they and it are jointly likelier than ``trust``."""
    for i, token in enumerate(tokens):
        if math.exp(sum(logp[: i + 1])) <= trust:
            return None
        if ends(before + i, token):
            return Middle(list(tokens[:i]), list(logp[: i + 1]), 0, True)
    return None


def _without_end(draft: Sequence[int], ends: Ends) -> list[int]:
    """The tokens that stand before the first end."""
    return list(draft[: next((i for i, token in enumerate(draft) if ends(i, token)), len(draft))])


def _draft(
    ids: Sequence[int],
    hint: Sequence[int],
    scores: NDArray[np.float32],
    likely: tuple[Sequence[int], Sequence[float]],
    drafting: Drafting,
    ends: Ends,
    before: int,
) -> list[int]:
    """What to verify behind the known ``ids``, by the hint's or their own repetitions or else by the canvas's scores
    (n, V), of which ``likely`` is the pick, and then again by repetitions."""
    draft = _possible(_looked_up(ids, hint, drafting.lookup, len(scores)), scores, ends, before)
    draft = draft or _confident(*likely, drafting.surety, ends, before)
    left, at = scores[len(draft) :], before + len(draft)
    again = _looked_up([*ids, *draft], hint, drafting.lookup, len(left))
    return draft + _possible(again, left, ends, at)


def _looked_up(ids: Sequence[int], hint: Sequence[int], length: int, most: int) -> list[int]:
    """What followed the last ``length`` of ``ids`` in the hint, or else where they themselves stood before."""
    apart = -1  # no token: nothing matches across it
    found = _repeated([*hint, apart, *ids[-length:]], length, most) if hint else []
    return found[: (*found, apart).index(apart)] or _repeated(ids, length, most)


def _confident(
    tokens: Sequence[int], logp: Sequence[float], surety: float, ends: Ends, before: int
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


def _possible(draft: Sequence[int], scores: NDArray[np.float32], ends: Ends, before: int) -> list[int]:
    """The tokens of a draft up to the first that is an end or must not be shown, by scores (n, V)."""
    for i, token in enumerate(draft):
        if ends(before + i, token) or float(scores[i, token]) == -math.inf:
            return list(draft[:i])
    return list(draft)


def refine(
    passes: Passes,
    tail: Sequence[int],
    mask: int,
    block: int,
    settle: Settle,
    ends: Ends,
    limit: Limit,
    watch: Watch,
) -> Middle:
    """Denoise block after block, committing what ``settle`` lets through; see `denoise`."""
    tokens: list[int] = []
    logp: list[float] = []
    steps = 0
    passes.read(tail, limit.cancelled)
    limit.prefill_ends()
    while len(tokens) < limit.tokens:
        size = min(block, limit.tokens - len(tokens))
        rows = Rows.block(len(passes.cache.ids), size)
        anchor, before = passes.cache.ids[-1], tuple(tokens)

        def predict(
            draft: Sequence[int | None], rows: Rows = rows, anchor: int = anchor
        ) -> NDArray[np.float32]:
            limit.passes += 1
            hidden = passes.run([anchor, *(mask if token is None else token for token in draft)], rows)
            return passes.scores(
                hidden[[i for i, token in enumerate(draft) if token is None]]
            )  # row i predicts i

        def ends_here(index: int, token: int, before: Sequence[int] = before) -> bool:
            return ends(len(before) + index, token)

        def seen(
            draft: Sequence[int | None], before: Sequence[int] = before, sure: Sequence[float] = tuple(logp)
        ) -> None:
            watch(before, draft, sure)

        done = denoise(predict, size, ends_here, settle, limit.may_go_on, seen)
        tokens += done.tokens
        logp += done.logp
        steps += done.passes
        if done.ended or not done.full or not limit.may_go_on():
            return Middle(tokens, logp, steps, done.ended)
        if len(tokens) < limit.tokens:
            limit.passes += 1
            passes.read(done.tokens, limit.cancelled)
    return Middle(tokens, logp, steps, False)


def spell(
    passes: Passes, tail: Sequence[int], ends: Ends, limit: Limit, watch: Watch, pick: Pick = greedy
) -> Middle:
    """One token a pass, from left to right. The prompt's last row gives the first."""
    last = passes.read(tail, limit.cancelled)
    limit.prefill_ends()
    tokens: list[int] = []
    logp: list[float] = []
    while True:
        (token,), (sure,) = pick(passes.scores(last), len(tokens))
        if ends(len(tokens), token):
            return Middle(tokens, [*logp, sure], limit.passes, True)
        if len(tokens) >= limit.tokens or not limit.may_go_on():
            return Middle(tokens, logp, limit.passes, False)
        tokens.append(token)
        logp.append(sure)
        limit.passes += 1
        last = passes.read([token], limit.cancelled)
        watch(tokens, (), logp)
