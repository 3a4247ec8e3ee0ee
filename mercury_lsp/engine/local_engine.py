"""Fills in the middle of a prompt with our own checkpoints and with open autoregressive models.

An infill encodes the prompt, reuses the cache, prefills, decodes, and turns the tokens into text. Both kinds of models
verify drafts causally and draft from the project memory; our own models also draft by diffusion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.api import DEFAULT_RUN, Infill, Run, Sampling, never_cancelled
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.kv_cache import PREFILL_CHUNK_ROWS, CachedModel
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.decoding.decode import (
    DecodeBudget,
    DecodeResult,
    OnTokens,
    StopCondition,
    decode_autoregressive,
    decode_block_diffusion,
)
from mercury_lsp.engine.decoding.healing import Stem, token_bytes
from mercury_lsp.engine.decoding.memory_view import MemoryView
from mercury_lsp.engine.decoding.mixture import Memory, Mixture
from mercury_lsp.engine.decoding.result import ResultBuilder, commit_rule
from mercury_lsp.engine.decoding.sampling import BRANCH_TOKENS, branches, greedy, sampled
from mercury_lsp.engine.decoding.speculative import DRAFT_TOKENS, Drafting, decode_speculative, draft_defaults
from mercury_lsp.engine.prompt_layout import PromptLayout, layout_of
from mercury_lsp.engine.tokenizer import Hint, Prompt, Vocabulary
from mercury_lsp.engine.worker import Cancelled

UNVERIFIED_BLOCK_TOKENS = 6


class LocalEngine:
    """A loaded model with its KV cache, on an executor that no other engine uses; used by one thread at a time.

    ``cached_model``: the executor with its cache; other decoders may use it between two calls of `infill`.
    """

    def __init__(
        self,
        loaded: checkpoint.Checkpoint | OpenCheckpoint,
        executor: Executor,
        layout: PromptLayout | None = None,
    ) -> None:
        self.name = loaded.name
        self.fingerprint = loaded.fingerprint
        self.tokenizer: Vocabulary = loaded.tokenizer
        self.count, self.stem_start = self.tokenizer.count, self.tokenizer.stem_start
        self.parameters = loaded.shape.parameters
        self.device, self.threads = executor.device, executor.threads
        self._executor = executor
        self.cached_model = CachedModel(executor)
        self.layout = layout or layout_of(loaded)
        self.forbidden = loaded.forbidden
        self._stop = StopCondition(self.layout.stop_tokens, frozenset())
        self._token_bytes = token_bytes(self.tokenizer)
        self._stop_at_line_end = StopCondition(self.layout.stop_tokens, self._token_bytes.newlines)
        self._last: _Decoded | None = None
        self._encoded: tuple[Prompt, tuple[int, ...]] | None = None
        # A mixture is fitted to one of our own models. An open model uses the mixture of `small` only to estimate the
        # memory's drafts, because these probabilities do not depend on the model.
        self._mixes = not isinstance(loaded, OpenCheckpoint)
        folder = loaded.folder if self._mixes else checkpoint.SHIPPED / "small"
        with checkpoint.as_checkpoint_error(folder):
            self._mixture = Mixture.load(folder, min(self.layout.stop_tokens))

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary that the project memory must use; None without a mixture, which the memory needs."""
        return None if self._mixture is None else self.tokenizer

    def prefill(
        self, prompt: Prompt, cancelled: Callable[[], bool] = never_cancelled, min_tokens: int = 1
    ) -> int:
        """Prefill a prompt before `infill`, unless fewer than ``min_tokens`` of its tokens are missing from the cache.

        Returns the number of tokens that were read. Raises `Cancelled`.
        """
        ids = self._encode(prompt)
        cached = self.cached_model.reuse(ids)
        if len(ids) - cached < min_tokens:
            return 0
        self.cached_model.extend(ids[cached:], cancelled)
        return len(ids) - cached

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = DEFAULT_RUN) -> Infill:
        """Fill in the middle of a prompt. Raises `Cancelled` between two passes after ``run.cancelled()`` turns true.

        While the user types within a word, consecutive prompts differ only in the stem. Then the stored scores are
        restricted to the new stem, and no pass is needed as long as they choose the same tokens.
        """
        started = time.perf_counter()
        ids = self._encode(prompt)
        stem = self._stem(prompt, sampling)
        budget = DecodeBudget(sampling.max_passes, sampling.max_tokens, run.cancelled)
        view = self._memory_view(ids, run.memory)
        last = self._last if self._last is not None and self._last.matches(ids, sampling) else None
        if last is not None and (rescored := last.for_stem(stem, view)) is not None:
            budget.mark_prefilled()
            return self._result_builder(prompt, budget, started, len(ids), len(ids), view).infill(rescored)
        first_scores = None if last is None else last.middle.first_scores
        prompt_scores = None if first_scores is None else first_scores[:1]
        if prompt_scores is not None and self.cached_model.reuse(ids) < len(ids):
            prompt_scores = None
        cached = prefilled = len(ids)
        if prompt_scores is None:
            cached = self.cached_model.reuse(ids[:-1])
            # The decoder reads the last chunk, because its last row predicts the middle.
            prefilled = max(cached, len(ids) - PREFILL_CHUNK_ROWS)
            self.cached_model.extend(ids[cached:prefilled], run.cancelled)
        builder = self._result_builder(prompt, budget, started, cached, len(ids), view)
        report = builder.reporter(run.on_progress)
        hint, initial_draft = self._hints(prompt.stem, run.hint)
        initial_draft = initial_draft or stem.draft()
        stop = self._stop_condition(sampling)
        middle = self._decode(
            ids[prefilled:], sampling, stop, budget, report, stem, hint, initial_draft, prompt_scores, view
        )
        self._last = _Decoded(ids, sampling, stem, middle)
        return builder.infill(middle)

    def alternatives(
        self, prompt: Prompt, sampling: Sampling, first: Infill, run: Run = DEFAULT_RUN
    ) -> Iterator[Infill]:
        """Yield middles other than ``first``, the result of `infill` for the prompt, likeliest branch first.

        Each has a different token at one position and is decoded from there. Raises `Cancelled` like `infill`.
        """
        started = time.perf_counter()
        ids = self._encode(prompt)
        stem, stop = self._stem(prompt, sampling), self._stop_condition(sampling)
        all_tokens = self.tokenizer.encode(prompt.stem + first.text)
        tokens = all_tokens[: stem.count_hidden(all_tokens) + BRANCH_TOKENS]
        cached = self.cached_model.reuse(ids[:-1])
        self.cached_model.extend(ids[cached:-1], run.cancelled)
        clean = [ids[-1], *tokens]
        hidden = self.cached_model.run(clean, TokenLayout.clean(len(ids) - 1, len(clean)))
        scores = self.cached_model.scores(hidden)  # (n + 1, V)
        view = self._memory_view(ids, run.memory)
        if view is not None:
            scores = view.mix(scores, tokens)
        scores = stem.restrict(scores, tokens)
        self.cached_model.keep(clean)
        logp = [float(scores[i, token]) for i, token in enumerate(tokens)]
        to_end = first.finished and len(tokens) == len(all_tokens)
        for branch in branches(scores if to_end else scores[:-1], tokens):
            if run.cancelled():
                raise Cancelled
            branch_tokens = [*tokens[: branch.at], branch.token]
            chosen_logp = [*logp[: branch.at], branch.logp]
            budget = DecodeBudget(
                sampling.max_passes, sampling.max_tokens - len(branch_tokens), run.cancelled
            )
            budget.mark_prefilled()
            if stop.after_stem(stem.count_hidden(branch_tokens[:-1]))(branch.at, branch.token):
                middle = DecodeResult(branch_tokens[:-1], chosen_logp, 0, True)
            elif budget.max_tokens > 0:
                reused = self.cached_model.reuse([*ids, *branch_tokens[:-1]])
                rest = self._decode(
                    [*ids, *branch_tokens][reused:],
                    sampling,
                    replace(
                        stop.after_stem(stem.count_hidden(branch_tokens)),
                        visible_before=len(branch_tokens) - stem.count_hidden(branch_tokens),
                    ),
                    budget,
                    lambda *_: None,
                    stem.after(branch_tokens),
                    all_tokens,
                    tokens[branch.at + 1 :],
                    view=None if view is None else view.after(branch_tokens),
                )
                middle = DecodeResult(
                    [*branch_tokens, *rest.tokens], [*chosen_logp, *rest.logp], rest.steps, rest.finished
                )
            else:
                continue
            yield self._result_builder(prompt, budget, started, cached, len(ids), view).infill(middle)

    def _stem(self, prompt: Prompt, sampling: Sampling) -> Stem:
        """Return the stem of a prompt; if a block may follow the line, the middle must not end with the stem."""
        must_continue = not sampling.single_line and not prompt.rest.strip()
        return Stem.of(self._token_bytes, prompt.stem, must_continue)

    def _stop_condition(self, sampling: Sampling) -> StopCondition:
        return self._stop_at_line_end if sampling.single_line else self._stop

    def _encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the ids of a prompt without its stem; cached, because within a word only the stem changes."""
        without_stem = replace(prompt, stem="")
        if self._encoded is None or self._encoded[0] != without_stem:
            self._encoded = without_stem, self.layout.encode(without_stem)
        return self._encoded[1]

    def _memory_view(self, ids: Sequence[int], memory: Memory | None) -> MemoryView | None:
        """Return the view of a memory from the end of the prompt's prefix; ``ids``: the prompt's tokens."""
        if memory is None or self._mixture is None:
            return None
        return MemoryView(self._mixture, memory, self.layout.prefix(ids), self._mixes)

    def _result_builder(
        self,
        prompt: Prompt,
        budget: DecodeBudget,
        started: float,
        cached: int,
        read: int,
        view: MemoryView | None,
    ) -> ResultBuilder:
        tokens, stop_tokens = self._token_bytes, self.layout.stop_tokens
        return ResultBuilder(tokens, stop_tokens, budget, started, cached, read, prompt.stem, view)

    def _hints(self, stem: str, hint: Hint | None) -> tuple[list[int], list[int]]:
        """Return the hint's tokens for prompt lookup, and its tokens from the stem on if the hint still holds."""
        if hint is None:
            return [], []
        continuation = self.tokenizer.encode(stem + hint.untyped) if hint.untyped else []
        return continuation or self.tokenizer.encode(hint.text), continuation

    def _decode(
        self,
        prompt_tail: Sequence[int],
        sampling: Sampling,
        stop: StopCondition,
        budget: DecodeBudget,
        on_progress: OnTokens,
        stem: Stem,
        hint: Sequence[int],
        initial_draft: Sequence[int],
        prompt_scores: NDArray[np.float32] | None = None,
        view: MemoryView | None = None,
    ) -> DecodeResult:
        model, mask = self.cached_model, self.layout.mask
        pick = sampled(sampling.temperature, sampling.seed) if sampling.temperature else greedy
        if sampling.mode == "autoregressive" or (mask is None and not sampling.verify):
            return decode_autoregressive(model, prompt_tail, stop, budget, on_progress, stem, pick, view)
        if sampling.verify:
            defaults = draft_defaults(self._executor.row_cost)
            min_probability, threshold = sampling.draft_surety, sampling.canvas_threshold
            if not (defaults.canvases or sampling.block or threshold is not None):
                mask = None
            drafting = Drafting(
                mask,
                sampling.block or (DRAFT_TOKENS if mask is None else defaults.block),
                min_probability=defaults.min_probability if min_probability is None else min_probability,
                lookup=sampling.draft_lookup,
                slack=sampling.draft_slack,
                trust=sampling.draft_trust,
                canvas_threshold=defaults.canvas_threshold if threshold is None else threshold,
                pick=pick,
            )
            return decode_speculative(
                model,
                prompt_tail,
                drafting,
                stop,
                budget,
                on_progress,
                stem,
                hint,
                initial_draft,
                prompt_scores,
                view,
            )
        assert mask is not None, "without a mask there are no canvases"
        block = sampling.block or UNVERIFIED_BLOCK_TOKENS
        return decode_block_diffusion(
            model, prompt_tail, mask, block, commit_rule(sampling), stop, budget, on_progress, stem
        )


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The last decoded middle, with the prompt's ``ids``, the sampling and the stem."""

    ids: tuple[int, ...]
    sampling: Sampling
    stem: Stem
    middle: DecodeResult

    def matches(self, ids: tuple[int, ...], sampling: Sampling) -> bool:
        """Return whether decoding the same ids by ``sampling`` would give this middle again."""
        exact = not sampling.temperature and not sampling.draft_slack and sampling.draft_trust >= 1
        causal = sampling.verify and sampling.mode == "diffusion"
        return exact and causal and (ids, sampling) == (self.ids, self.sampling)

    def for_stem(self, stem: Stem, view: MemoryView | None) -> DecodeResult | None:
        """Return the middle, scored for another stem and memory; None if the choice of tokens might change.

        Only the tokens with stored scores are mixed with the current memory; the others keep their log-probabilities.
        """
        tokens, first_scores = self.middle.tokens, self.middle.first_scores
        if first_scores is None or stem.count_hidden(tokens) == len(tokens):
            return None
        known = min(len(first_scores), len(tokens))
        if any(self._exceeds(each, known) for each in (stem, self.stem)):
            return None
        scores = first_scores[:known]
        if view is not None and known:
            scores = view.mix(scores, tokens[: known - 1])
        chosen, chosen_logp = greedy(stem.restrict(scores, tokens[:known]), 0)
        if chosen != tokens[:known]:
            return None
        return replace(self.middle, logp=[*chosen_logp, *self.middle.logp[known:]], steps=0)

    def _exceeds(self, stem: Stem, known: int) -> bool:
        """Return whether a stem is longer than the bytes of the first ``known`` tokens."""
        return len(stem.remaining) > sum(
            len(stem.tokens.bytes_of[token]) for token in self.middle.tokens[:known]
        )
