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
    draft or choose tokens; passes that only read tokens do not count. ``first_scores``: (m, V), the model's
    log-probabilities of the first tokens, before the stem's restriction and the memory are applied.
    """

    tokens: list[int]
    logp: list[float]
    steps: int
    finished: bool
    first_scores: NDArray[np.float32] | None = None


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

    def mark_prefilled(self) -> None:
        """Record the time at which the prefill ended."""
        self.prefilled = time.perf_counter()

    def allows_pass(self) -> bool:
        """Return whether another pass is allowed. Raises `Cancelled`."""
        if self.cancelled():
            raise Cancelled
        return self.passes < self.max_passes


@dataclass(frozen=True, slots=True)
class StopCondition:
    """Decides whether a token ends a middle: one of ``tokens``, or one of ``newlines`` after the first visible token.

    ``newlines``: empty if the middle may have several lines. ``visible_before``: the number of visible tokens of the
    middle before the decoded ones; negative if the decoded tokens begin with tokens of the stem.
    """

    tokens: frozenset[int]
    newlines: frozenset[int]
    visible_before: int = 0

    def __call__(self, index: int, token: int) -> bool:
        """Return whether ``token``, after ``index`` decoded tokens, ends the text."""
        return token in self.tokens or (index + self.visible_before > 0 and token in self.newlines)

    def after_stem(self, hidden: int) -> StopCondition:
        """Return the condition for a text that begins with ``hidden`` tokens of the stem.

        A newline in these tokens, or right after them, does not end the text.
        """
        return replace(self, visible_before=self.visible_before - hidden)


def decode_block_diffusion(
    model: CachedModel,
    prompt_tail: Sequence[int],
    mask: int,
    block: int,
    commit_rule: CommitRule,
    stop: StopCondition,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
) -> DecodeResult:
    """Denoise block after block by ``commit_rule``, see `denoise`, after the causal rows have decoded the stem."""
    hidden_row = model.extend(prompt_tail, budget.cancelled)
    budget.mark_prefilled()
    tokens: list[int] = []
    logp: list[float] = []
    full_stem = stem
    while stem.is_open:
        if len(tokens) >= budget.max_tokens or not budget.allows_pass():
            return DecodeResult(tokens, logp, budget.passes, False)
        (token,), (token_logp,) = greedy(stem.restrict(model.scores(hidden_row)), len(tokens))
        tokens.append(token)
        logp.append(token_logp)
        stem = stem.after([token])
        budget.passes += 1
        hidden_row = model.extend([token], budget.cancelled)
    steps = budget.passes
    stop = stop.after_stem(full_stem.count_hidden(tokens))
    while len(tokens) < budget.max_tokens:
        size = min(block, budget.max_tokens - len(tokens))
        rows = TokenLayout.block(len(model.ids), size)
        anchor, committed = model.ids[-1], tuple(tokens)

        def predict(
            draft: Sequence[int | None], rows: TokenLayout = rows, anchor: int = anchor
        ) -> NDArray[np.float32]:
            budget.passes += 1
            hidden = model.run([anchor, *(mask if token is None else token for token in draft)], rows)
            undecided = [i for i, token in enumerate(draft) if token is None]
            return model.scores(hidden[undecided])

        def is_stop(index: int, token: int, committed: Sequence[int] = committed) -> bool:
            return stop(len(committed) + index, token)

        def report(
            draft: Sequence[int | None],
            committed: Sequence[int] = committed,
            committed_logp: Sequence[float] = tuple(logp),
        ) -> None:
            on_progress(committed, draft, committed_logp)

        denoised = denoise(predict, size, is_stop, commit_rule, budget.allows_pass, stem, report)
        tokens += denoised.tokens
        logp += denoised.logp
        steps += denoised.passes
        if denoised.ended or not denoised.full or not budget.allows_pass():
            return DecodeResult(tokens, logp, steps, denoised.ended)
        if len(tokens) < budget.max_tokens:
            budget.passes += 1
            model.extend(denoised.tokens, budget.cancelled)
    return DecodeResult(tokens, logp, steps, False)


def decode_autoregressive(
    model: CachedModel,
    prompt_tail: Sequence[int],
    stop: StopCondition,
    budget: DecodeBudget,
    on_progress: OnTokens,
    stem: Stem,
    pick: Pick = greedy,
    memory: MemoryView | None = None,
) -> DecodeResult:
    """Decode one token a pass, from left to right. The prompt's last row predicts the first token."""
    hidden_row = model.extend(prompt_tail, budget.cancelled)
    budget.mark_prefilled()
    tokens: list[int] = []
    logp: list[float] = []
    first_scores: NDArray[np.float32] | None = None
    while True:
        scores = model.scores(hidden_row)
        if first_scores is None:
            first_scores = scores.copy()
        remaining_stem = stem.after(tokens)
        if memory is not None:
            scores = memory.mix(scores, tokens)
        (token,), (token_logp,) = pick(remaining_stem.restrict(scores), len(tokens))
        if stop.after_stem(stem.count_hidden(tokens))(len(tokens), token):
            return DecodeResult(tokens, [*logp, token_logp], budget.passes, True, first_scores)
        if len(tokens) >= budget.max_tokens or not budget.allows_pass():
            return DecodeResult(tokens, logp, budget.passes, False, first_scores)
        tokens.append(token)
        logp.append(token_logp)
        budget.passes += 1
        hidden_row = model.extend([token], budget.cancelled)
        on_progress(tokens, (), logp)
