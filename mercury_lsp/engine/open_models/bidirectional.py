"""Decodes a canvas between two texts, with models in which every row sees every other row.

`denoise_fixed` decodes a canvas of fixed size, `denoise_expandable` a canvas whose size the model changes. A context
that sees the canvas has no exact KV cache. So one full pass reads the context and the canvas, and the next passes run
only the canvas on the context's keys and values of that pass, up to ``refresh`` passes in all. This is the dual cache
of Fast-dLLM (Wu et al. 2025), an approximation; a refresh of 1 is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.decoding.decode import DecodeBudget, DecodeResult, OnTokens
from mercury_lsp.engine.decoding.denoise import CommitRule, IsStop, denoise, entropy, likeliest
from mercury_lsp.engine.decoding.healing import Stem

AFTER_ALL_POSITIONS = 1 << 30
# The number of masks with which an expandable canvas begins, by DreamOn's README.
FIRST_MASKS = 4


class BidirectionalCanvas:
    """A canvas between two texts, the first of which has at least one token.

    The order of the rows is ``[before without its last | after | last of before | canvas]``, each at its own position,
    so that the rows that later passes run again come last. All rows belong to one canvas, so that all see each other.
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
        self._context, self._anchor = [*before[:-1], *after], before[-1]
        self._first, self._after = len(before) - 1, len(after)
        self._size = self._passes_since_refresh = 0

    def scores(self, canvas: Sequence[int | None]) -> NDArray[np.float32]:
        """Run one pass; return the log-probabilities (n, V) of the positions that are None, left to right."""
        size, context = len(canvas), len(self._context)
        ids = [self._anchor, *(self._mask if token is None else token for token in canvas)]
        position = np.arange(self._first, self._first + size + 1)
        if size != self._size or self._passes_since_refresh >= self._refresh:
            after = np.arange(position[-1] + 1, position[-1] + 1 + self._after)
            position = np.concatenate([np.arange(self._first), after, position])
            hidden = self._executor.run([*self._context, *ids], _bidirectional_layout(position), 0)[context:]
            self._size, self._passes_since_refresh = size, 0
        else:
            hidden = self._executor.run(ids, _bidirectional_layout(position), context)
        self._passes_since_refresh += 1
        # With the shift, the row before a position predicts its token.
        rows = [i + (not self._shift) for i, token in enumerate(canvas) if token is None]
        return self._executor.scores(hidden[rows])


def _bidirectional_layout(position: NDArray[np.int64]) -> TokenLayout:
    """Return rows that see one another and all kept rows."""
    zero = np.zeros_like(position)
    far = np.full_like(position, AFTER_ALL_POSITIONS)
    return TokenLayout(position, far, zero + 1, zero, far)


def denoise_fixed(
    model: BidirectionalCanvas,
    size: int,
    is_stop: IsStop,
    commit_rule: CommitRule,
    budget: DecodeBudget,
    stem: Stem,
    on_draft: Callable[..., None],
) -> DecodeResult:
    """Denoise a canvas of fixed size. A full canvas counts as finished, because the text after it is known.

    on_draft: called with the canvas after each pass; masks are None.
    """

    def predict(canvas: Sequence[int | None]) -> NDArray[np.float32]:
        budget.passes += 1
        return model.scores(canvas)

    denoised = denoise(predict, size, is_stop, commit_rule, budget.allows_pass, stem, on_draft)
    return DecodeResult(
        [*denoised.tokens], [*denoised.logp], denoised.passes, denoised.ended or denoised.full
    )


def denoise_expandable(
    model: BidirectionalCanvas,
    expand: int,
    deletes: frozenset[int],
    newlines: frozenset[int],
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
) -> DecodeResult:
    """Decode a canvas that changes its own size, as DreamOn does (Wu et al. 2025).

    Each pass commits the token with the least entropy. A mask that becomes ``expand`` is replaced by two masks, up to
    ``budget.max_tokens`` masks and tokens; a mask that becomes one of ``deletes`` is removed. newlines: the tokens that
    end the text after its first visible token; may be empty.
    """
    canvas: list[int | None] = [None] * min(FIRST_MASKS, budget.max_tokens)
    logp = [0.0] * len(canvas)
    # The limit ends the loop if the canvas keeps growing and shrinking.
    expansions_left = 2 * budget.max_tokens
    passes_before = budget.passes
    while None in canvas and budget.allows_pass():
        budget.passes += 1
        scores = model.scores(canvas).copy()
        if len(canvas) >= budget.max_tokens or not expansions_left:
            scores[:, expand] = -np.inf
            scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
        remaining_stem = stem.after(_committed_start(canvas))
        if remaining_stem.is_open:
            scores = remaining_stem.restrict(scores[:1])
        chosen, chosen_logp = likeliest(scores)
        surest = int(entropy(scores).argmin())
        at = [i for i, token in enumerate(canvas) if token is None][surest]
        token = chosen[surest]
        if token == expand:
            canvas[at : at + 1], logp[at : at + 1] = [None, None], [0.0, 0.0]
            expansions_left -= 1
        elif token in deletes:
            del canvas[at], logp[at]
        else:
            canvas[at], logp[at] = token, chosen_logp[surest]
        newline = _first_newline(canvas, newlines, stem.count_hidden(_committed_start(canvas)))
        # Drop all positions after the newline, decided or not.
        if newline is not None:
            canvas, logp = canvas[: newline + 1], logp[: newline + 1]
        committed = _committed_start(canvas)
        on_progress(committed, canvas[len(committed) :], logp[: len(committed)])
    committed, steps = _committed_start(canvas), budget.passes - passes_before
    ended = (
        bool(committed)
        and committed[-1] in newlines
        and len(committed) > 1 + stem.count_hidden(committed[:-1])
    )
    return DecodeResult(
        committed[:-1] if ended else committed, logp[: len(committed)], steps, None not in canvas
    )


def _committed_start(canvas: Sequence[int | None]) -> list[int]:
    start: list[int] = []
    for token in canvas:
        if token is None:
            break
        start.append(token)
    return start


def _first_newline(canvas: Sequence[int | None], newlines: frozenset[int], hidden: int) -> int | None:
    """Return the index of the first newline after the first visible token; None without any."""
    return next((i for i, token in enumerate(canvas) if i > hidden and token in newlines), None)
