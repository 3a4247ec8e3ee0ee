"""Decoding of a canvas between two texts, by models whose every row sees every other.

Owns the passes over such a canvas, with what they reuse of one another, and two loops: `denoise_fixed` for a canvas
of one size, `denoise_expandable` for models that change its size themselves. Knows tokens only.

Nothing of a context that sees the canvas can be kept exactly. A full pass reads everything; the passes after it run the
canvas alone, behind the keys and values that the context had then, until ``refresh`` passes are over: the dual cache
of Fast-dLLM (Wu et al. 2025), an approximation of which a refresh of 1 is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.decoding.decode import DecodeBudget, DecodeResult, OnTokens
from mercury_lsp.engine.decoding.denoise import CommitRule, StopCondition, denoise, entropy, likeliest
from mercury_lsp.engine.decoding.healing import Stem

EVERYWHERE = 1 << 30  # a position behind all others
FIRST = 4  # masks that a canvas begins with which grows: DreamOn's README


class BidirectionalCanvas:
    """The place between two texts, of which the first has one token at least.

    Rows are put in the order ``[before without its last | after | last of before | canvas]``, each at its own position,
    so that the rows to be run again come last; all are of one canvas, and so all see all.
    """

    def __init__(
        self,
        executor: Executor,
        before: Sequence[int],
        after: Sequence[int],
        mask: int,
        shift: bool,
        refresh: int,
    ) -> None:
        self._executor, self._mask, self._shift, self._refresh = executor, mask, shift, refresh
        self._kept, self._anchor = [*before[:-1], *after], before[-1]
        self._first, self._behind = len(before) - 1, len(after)
        self._size = self._age = 0

    def scores(self, canvas: Sequence[int | None]) -> NDArray[np.float32]:
        """One pass: log-probabilities of the undecided positions, None in ``canvas``, from the left. (n, V)"""
        size, kept = len(canvas), len(self._kept)
        ids = [self._anchor, *(self._mask if token is None else token for token in canvas)]
        position = np.arange(self._first, self._first + size + 1)
        if size != self._size or self._age >= self._refresh:
            behind = np.arange(position[-1] + 1, position[-1] + 1 + self._behind)
            position = np.concatenate([np.arange(self._first), behind, position])
            hidden = self._executor.run([*self._kept, *ids], _together(position), 0)[kept:]
            self._size, self._age = size, 0
        else:
            hidden = self._executor.run(ids, _together(position), kept)
        self._age += 1
        # With the shift, the row before a position foretells it.
        rows = [i + (not self._shift) for i, token in enumerate(canvas) if token is None]
        return self._executor.scores(hidden[rows])


def _together(position: NDArray[np.int64]) -> TokenLayout:
    """Rows that see one another and all that is kept."""
    zero = np.zeros_like(position)
    far = np.full_like(position, EVERYWHERE)
    return TokenLayout(position, far, zero + 1, zero, far)


def denoise_fixed(
    between: BidirectionalCanvas,
    size: int,
    ends: StopCondition,
    commit_rule: CommitRule,
    budget: DecodeBudget,
    stem: Stem,
    seen: Callable[..., None],
) -> DecodeResult:
    """Denoise a canvas of one size. It is finished when it is full, since what follows is there already.

    seen: told of each draft of it, None where undecided.
    """

    def predict(canvas: Sequence[int | None]) -> NDArray[np.float32]:
        budget.passes += 1
        return between.scores(canvas)

    done = denoise(predict, size, ends, commit_rule, budget.may_go_on, stem, seen)
    return DecodeResult([*done.tokens], [*done.logp], done.passes, done.ended or done.full)


def denoise_expandable(
    between: BidirectionalCanvas,
    expand: int,
    deletes: frozenset[int],
    newlines: frozenset[int],
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
) -> DecodeResult:
    """Decode a canvas that changes its own size, as DreamOn does (Wu et al. 2025).

    Each pass commits the token of least entropy: a place that becomes ``expand`` is two masks from then on, until
    ``budget.tokens`` masks and tokens are there, and one that becomes an end is no place any more. newlines: what ends
    the text behind its first token, empty where nothing does.
    """
    canvas: list[int | None] = [None] * min(FIRST, budget.tokens)
    logp = [0.0] * len(canvas)
    places = 2 * budget.tokens  # of places made, so that a canvas that grows and shrinks comes to an end
    begun = budget.passes
    while None in canvas and budget.may_go_on():
        budget.passes += 1
        scores = between.scores(canvas).copy()
        if len(canvas) >= budget.tokens or not places:
            scores[:, expand] = -np.inf
            scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
        left = stem.behind(_left(canvas))
        if left.open:
            scores = left.restrict(scores[:1])
        chosen, sure = likeliest(scores)
        surest = int(entropy(scores).argmin())
        at = [i for i, token in enumerate(canvas) if token is None][surest]
        token = chosen[surest]
        if token == expand:
            canvas[at : at + 1], logp[at : at + 1] = [None, None], [0.0, 0.0]
            places -= 1
        elif token in deletes:
            del canvas[at], logp[at]
        else:
            canvas[at], logp[at] = token, sure[surest]
        line = _line(canvas, newlines, stem.hidden(_left(canvas)))
        if line is not None:  # what stands behind a line's end is not wanted, decided or not
            canvas, logp = canvas[: line + 1], logp[: line + 1]
        decided = _left(canvas)
        on_progress(decided, canvas[len(decided) :], logp[: len(decided)])
    decided, steps = _left(canvas), budget.passes - begun
    ended = bool(decided) and decided[-1] in newlines and len(decided) > 1 + stem.hidden(decided[:-1])
    return DecodeResult(decided[:-1] if ended else decided, logp[: len(decided)], steps, None not in canvas)


def _left(canvas: Sequence[int | None]) -> list[int]:
    """What is decided from the left end on."""
    left: list[int] = []
    for token in canvas:
        if token is None:
            break
        left.append(token)
    return left


def _line(canvas: Sequence[int | None], newlines: frozenset[int], hidden: int) -> int | None:
    """Where the first line's end is behind the first token that is shown, if there is one."""
    return next((i for i, token in enumerate(canvas) if i > hidden and token in newlines), None)
