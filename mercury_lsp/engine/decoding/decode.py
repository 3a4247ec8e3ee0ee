"""Decodes a middle after a prompt, and defines the values that all decoders share.

`decode_block_diffusion` is plain block diffusion: tokens are committed without verification. `decode_autoregressive` is
the autoregressive baseline. The default decoder drafts and verifies, see `speculative`. All decoders begin with the
stem, see `healing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.kv_cache import CachedModel
from mercury_lsp.engine.decoding.denoise import CommitRule, denoise
from mercury_lsp.engine.decoding.healing import Stem
from mercury_lsp.engine.decoding.memory_view import MemoryView
from mercury_lsp.engine.decoding.sampling import Pick, greedy
from mercury_lsp.engine.worker import Cancelled

OnTokens = Callable[[Sequence[int], Sequence[int | None], Sequence[float]], None]
"""Called after each pass with the committed tokens, the draft after them (None if undecided), and the log-probabilities
of the committed tokens."""


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """The decoded tokens without the stop token; the stem's tokens come first.

    ``logp``: log-probabilities of the tokens, and of the stop token if the text is ``finished``. ``steps``: passes that
    draft or choose tokens; passes that only read tokens do not count. ``opening``: (m, V), the model's
    log-probabilities of the first tokens, before the stem's restriction and the memory are applied.
    """

    tokens: list[int]
    logp: list[float]
    steps: int
    finished: bool
    opening: NDArray[np.float32] | None = None


@dataclass(slots=True)
class DecodeBudget:
    """The limits of one decoding, and the number of its ``passes`` so far.

    ``prefilled``: `time.perf_counter` at the end of the prefill, in seconds.
    """

    max_passes: int
    max_tokens: int
    cancelled: Callable[[], bool]
    passes: int = 0
    prefilled: float = 0.0

    def prefill_ends(self) -> None:
        """Record the time at which the prefill ended."""
        self.prefilled = time.perf_counter()

    def may_go_on(self) -> bool:
        """Return whether another pass is allowed. Raises `Cancelled`."""
        if self.cancelled():
            raise Cancelled
        return self.passes < self.max_passes


@dataclass(frozen=True, slots=True)
class StopCondition:
    """Decides whether a token ends a middle: one of ``tokens``, or one of ``newlines`` after the first visible token.

    ``newlines``: empty if the middle may have several lines. ``before``: the number of visible tokens of the middle
    before the decoded ones; negative if the decoded tokens begin with tokens of the stem.
    """

    tokens: frozenset[int]
    newlines: frozenset[int]
    before: int = 0

    def __call__(self, index: int, token: int) -> bool:
        """Return whether ``token``, after ``index`` decoded tokens, ends the text."""
        return token in self.tokens or (index + self.before > 0 and token in self.newlines)

    def after(self, hidden: int) -> StopCondition:
        """Return the condition for a text that begins with ``hidden`` tokens of the stem.

        A newline in these tokens, or right after them, does not end the text.
        """
        return replace(self, before=self.before - hidden)


def decode_block_diffusion(
    passes: CachedModel,
    tail: Sequence[int],
    mask: int,
    block: int,
    commit_rule: CommitRule,
    ends: StopCondition,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
) -> DecodeResult:
    """Denoise block after block by ``commit_rule``, see `denoise`, after the causal rows have decoded the stem."""
    last = passes.read(tail, budget.cancelled)
    budget.prefill_ends()
    tokens: list[int] = []
    logp: list[float] = []
    whole = stem
    while stem.open:
        if len(tokens) >= budget.max_tokens or not budget.may_go_on():
            return DecodeResult(tokens, logp, budget.passes, False)
        (token,), (sure,) = greedy(stem.restrict(passes.scores(last)), len(tokens))
        tokens.append(token)
        logp.append(sure)
        stem = stem.after([token])
        budget.passes += 1
        last = passes.read([token], budget.cancelled)
    steps = budget.passes
    ends = ends.after(whole.hidden(tokens))
    while len(tokens) < budget.max_tokens:
        size = min(block, budget.max_tokens - len(tokens))
        rows = TokenLayout.block(len(passes.ids), size)
        anchor, before = passes.ids[-1], tuple(tokens)

        def predict(
            draft: Sequence[int | None], rows: TokenLayout = rows, anchor: int = anchor
        ) -> NDArray[np.float32]:
            budget.passes += 1
            hidden = passes.run([anchor, *(mask if token is None else token for token in draft)], rows)
            undecided = [i for i, token in enumerate(draft) if token is None]
            return passes.scores(hidden[undecided])

        def ends_here(index: int, token: int, before: Sequence[int] = before) -> bool:
            return ends(len(before) + index, token)

        def report(
            draft: Sequence[int | None], before: Sequence[int] = before, sure: Sequence[float] = tuple(logp)
        ) -> None:
            on_progress(before, draft, sure)

        done = denoise(predict, size, ends_here, commit_rule, budget.may_go_on, stem, report)
        tokens += done.tokens
        logp += done.logp
        steps += done.passes
        if done.ended or not done.full or not budget.may_go_on():
            return DecodeResult(tokens, logp, steps, done.ended)
        if len(tokens) < budget.max_tokens:
            budget.passes += 1
            passes.read(done.tokens, budget.cancelled)
    return DecodeResult(tokens, logp, steps, False)


def decode_autoregressive(
    passes: CachedModel,
    tail: Sequence[int],
    ends: StopCondition,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
    pick: Pick = greedy,
    memory: MemoryView | None = None,
) -> DecodeResult:
    """Decode one token a pass, from left to right. The prompt's last row predicts the first token."""
    last = passes.read(tail, budget.cancelled)
    budget.prefill_ends()
    tokens: list[int] = []
    logp: list[float] = []
    opening: NDArray[np.float32] | None = None
    while True:
        scores = passes.scores(last)
        if opening is None:
            opening = scores.copy()
        left = stem.after(tokens)
        if memory is not None:
            scores = memory.mix(scores, tokens)
        (token,), (sure,) = pick(left.restrict(scores), len(tokens))
        if ends.after(stem.hidden(tokens))(len(tokens), token):
            return DecodeResult(tokens, [*logp, sure], budget.passes, True, opening)
        if len(tokens) >= budget.max_tokens or not budget.may_go_on():
            return DecodeResult(tokens, logp, budget.passes, False, opening)
        tokens.append(token)
        logp.append(sure)
        budget.passes += 1
        last = passes.read([token], budget.cancelled)
        on_progress(tokens, (), logp)
