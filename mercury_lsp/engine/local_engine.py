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

from mercury_lsp.engine.api import ALONE, Infill, Run, Sampling, never_cancelled
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
from mercury_lsp.engine.decoding.speculative import DRAFT_TOKENS, Drafting, affordable, decode_speculative
from mercury_lsp.engine.prompt_layout import PromptLayout, layout_of
from mercury_lsp.engine.tokenizer import Hint, Prompt, Vocabulary
from mercury_lsp.engine.worker import Cancelled

UNVERIFIED_BLOCK_TOKENS = 6


class LocalEngine:
    """A loaded model with its KV cache, on an executor that no other engine uses; used by one thread at a time.

    ``passes``: the executor with its cache; other decoders may use it between two calls of `infill`.
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
        self.passes = CachedModel(executor)
        self.layout = layout or layout_of(loaded)
        self.forbidden = loaded.forbidden
        self._any_end = StopCondition(self.layout.ends, frozenset())
        self._token_bytes = token_bytes(self.tokenizer)
        self._line_end = StopCondition(self.layout.ends, self._token_bytes.newlines)
        self._last: _Decoded | None = None
        self._encoded: tuple[Prompt, tuple[int, ...]] | None = None
        # A mixture is fitted to one of our own models. An open model uses the mixture of `small` only to estimate the
        # memory's drafts, because these probabilities do not depend on the model.
        self._mixes = not isinstance(loaded, OpenCheckpoint)
        folder = loaded.folder if self._mixes else checkpoint.SHIPPED / "small"
        with checkpoint.as_checkpoint_error(folder):
            self._mixture = Mixture.load(folder, min(self.layout.ends))

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary that the project memory must use; None without a mixture, which the memory needs."""
        return None if self._mixture is None else self.tokenizer

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool] = never_cancelled, least: int = 1) -> int:
        """Prefill a prompt before `infill`, unless fewer than ``least`` of its tokens are missing from the cache.

        Returns the number of tokens that were read. Raises `Cancelled`.
        """
        ids = self._ids(prompt)
        cached = self.passes.reuse(ids)
        if len(ids) - cached < least:
            return 0
        self.passes.read(ids[cached:], cancelled)
        return len(ids) - cached

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = ALONE) -> Infill:
        """Fill in the middle of a prompt. Raises `Cancelled` between two passes after ``run.cancelled()`` turns true.

        While the user types within a word, consecutive prompts differ only in the stem. Then the stored scores are
        restricted to the new stem, and no pass is needed as long as they choose the same tokens.
        """
        began = time.perf_counter()
        ids = self._ids(prompt)
        stem = self._stem(prompt, sampling)
        budget = DecodeBudget(sampling.max_passes, sampling.max_tokens, run.cancelled)
        view = self._view(ids, run.memory)
        last = self._last if self._last is not None and self._last.fits(ids, sampling) else None
        if last is not None and (again := last.for_stem(stem, view)) is not None:
            budget.prefill_ends()
            return self._result_builder(prompt, budget, began, len(ids), len(ids), view).infill(again)
        first = None if last is None or last.middle.opening is None else last.middle.opening[:1]
        if first is not None and self.passes.reuse(ids) < len(ids):
            first = None
        cached = tail = len(ids)
        if first is None:
            cached = self.passes.reuse(ids[:-1])
            # The decoder reads the last chunk, because its last row predicts the middle.
            tail = max(cached, len(ids) - PREFILL_CHUNK_ROWS)
            self.passes.read(ids[cached:tail], run.cancelled)
        builder = self._result_builder(prompt, budget, began, cached, len(ids), view)
        watcher = builder.reporter(run.on_progress)
        looked_up, opening = self._hints(prompt.stem, run.hint)
        opening = opening or stem.draft()
        ends = self._ends(sampling)
        middle = self._decode(
            ids[tail:], sampling, ends, budget, watcher, stem, looked_up, opening, first, view
        )
        self._last = _Decoded(ids, sampling, stem, middle)
        return builder.infill(middle)

    def alternatives(
        self, prompt: Prompt, sampling: Sampling, first: Infill, run: Run = ALONE
    ) -> Iterator[Infill]:
        """Yield middles other than ``first``, the result of `infill` for the prompt, likeliest branch first.

        Each has a different token at one position and is decoded from there. Raises `Cancelled` like `infill`.
        """
        began = time.perf_counter()
        ids = self._ids(prompt)
        stem, ends = self._stem(prompt, sampling), self._ends(sampling)
        every = self.tokenizer.encode(prompt.stem + first.text)
        tokens = every[: stem.hidden(every) + BRANCH_TOKENS]
        cached = self.passes.reuse(ids[:-1])
        self.passes.read(ids[cached:-1], run.cancelled)
        clean = [ids[-1], *tokens]
        hidden = self.passes.run(clean, TokenLayout.clean(len(ids) - 1, len(clean)))
        scores = self.passes.scores(hidden)  # (n + 1, V)
        view = self._view(ids, run.memory)
        if view is not None:
            scores = view.mix(scores, tokens)
        scores = stem.restrict(scores, tokens)
        self.passes.keep(clean)
        logp = [float(scores[i, token]) for i, token in enumerate(tokens)]
        to_end = first.finished and len(tokens) == len(every)
        for branch in branches(scores if to_end else scores[:-1], tokens):
            if run.cancelled():
                raise Cancelled
            begun = [*tokens[: branch.at], branch.token]
            sure = [*logp[: branch.at], branch.logp]
            budget = DecodeBudget(sampling.max_passes, sampling.max_tokens - len(begun), run.cancelled)
            budget.prefill_ends()
            if ends.after(stem.hidden(begun[:-1]))(branch.at, branch.token):
                middle = DecodeResult(begun[:-1], sure, 0, True)
            elif budget.max_tokens > 0:
                reused = self.passes.reuse([*ids, *begun[:-1]])
                rest = self._decode(
                    [*ids, *begun][reused:],
                    sampling,
                    replace(ends.after(stem.hidden(begun)), before=len(begun) - stem.hidden(begun)),
                    budget,
                    lambda *_: None,
                    stem.after(begun),
                    every,
                    tokens[branch.at + 1 :],
                    view=None if view is None else view.after(begun),
                )
                middle = DecodeResult([*begun, *rest.tokens], [*sure, *rest.logp], rest.steps, rest.finished)
            else:
                continue
            yield self._result_builder(prompt, budget, began, cached, len(ids), view).infill(middle)

    def _stem(self, prompt: Prompt, sampling: Sampling) -> Stem:
        """Return the stem of a prompt; if a block may follow the line, the middle must not end with the stem."""
        goes_on = not sampling.single_line and not prompt.rest.strip()
        return Stem.of(self._token_bytes, prompt.stem, goes_on)

    def _ends(self, sampling: Sampling) -> StopCondition:
        return self._line_end if sampling.single_line else self._any_end

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the ids of a prompt without its stem; cached, because within a word only the stem changes."""
        read = replace(prompt, stem="")
        if self._encoded is None or self._encoded[0] != read:
            self._encoded = read, self.layout.encode(read)
        return self._encoded[1]

    def _view(self, ids: Sequence[int], memory: Memory | None) -> MemoryView | None:
        """Return the view of a memory from the end of the prompt's prefix; ``ids``: the prompt's tokens."""
        if memory is None or self._mixture is None:
            return None
        return MemoryView(self._mixture, memory, self.layout.prefix(ids), self._mixes)

    def _result_builder(
        self,
        prompt: Prompt,
        budget: DecodeBudget,
        began: float,
        cached: int,
        read: int,
        view: MemoryView | None,
    ) -> ResultBuilder:
        tokens, ends = self._token_bytes, self.layout.ends
        return ResultBuilder(tokens, ends, budget, began, cached, read, prompt.stem, view)

    def _hints(self, stem: str, hint: Hint | None) -> tuple[list[int], list[int]]:
        """Return the hint's tokens for prompt lookup, and its tokens from the stem on if the hint still holds."""
        if hint is None:
            return [], []
        opening = self.tokenizer.encode(stem + hint.left) if hint.left else []
        return opening or self.tokenizer.encode(hint.text), opening

    def _decode(
        self,
        tail: Sequence[int],
        sampling: Sampling,
        ends: StopCondition,
        budget: DecodeBudget,
        on_progress: OnTokens,
        stem: Stem,
        hint: Sequence[int],
        opening: Sequence[int],
        first: NDArray[np.float32] | None = None,
        view: MemoryView | None = None,
    ) -> DecodeResult:
        passes, mask = self.passes, self.layout.mask
        pick = sampled(sampling.temperature, sampling.seed) if sampling.temperature else greedy
        if sampling.mode == "autoregressive" or (mask is None and not sampling.verify):
            return decode_autoregressive(passes, tail, ends, budget, on_progress, stem, pick, view)
        if sampling.verify:
            pays = affordable(self._executor.row_cost)
            surety, threshold = sampling.draft_surety, sampling.canvas_threshold
            if not (pays.canvases or sampling.block or threshold is not None):
                mask = None
            drafting = Drafting(
                mask,
                sampling.block or (DRAFT_TOKENS if mask is None else pays.block),
                surety=pays.surety if surety is None else surety,
                lookup=sampling.draft_lookup,
                slack=sampling.draft_slack,
                trust=sampling.draft_trust,
                canvas_threshold=pays.canvas_threshold if threshold is None else threshold,
                pick=pick,
            )
            return decode_speculative(
                passes, tail, drafting, ends, budget, on_progress, stem, hint, opening, first, view
            )
        assert mask is not None, "without a mask there are no canvases"
        block = sampling.block or UNVERIFIED_BLOCK_TOKENS
        return decode_block_diffusion(
            passes, tail, mask, block, commit_rule(sampling), ends, budget, on_progress, stem
        )


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The last decoded middle, with the prompt's ``ids``, the sampling and the stem."""

    ids: tuple[int, ...]
    sampling: Sampling
    stem: Stem
    middle: DecodeResult

    def fits(self, ids: tuple[int, ...], sampling: Sampling) -> bool:
        """Return whether decoding the same ids by ``sampling`` would give this middle again."""
        exact = not sampling.temperature and not sampling.draft_slack and sampling.draft_trust >= 1
        causal = sampling.verify and sampling.mode == "diffusion"
        return exact and causal and (ids, sampling) == (self.ids, self.sampling)

    def for_stem(self, stem: Stem, view: MemoryView | None) -> DecodeResult | None:
        """Return the middle, scored for another stem and memory; None if the choice of tokens might change.

        Only the tokens with stored scores are mixed with the current memory; the others keep their log-probabilities.
        """
        tokens, opening = self.middle.tokens, self.middle.opening
        if opening is None or stem.hidden(tokens) == len(tokens):
            return None
        known = min(len(opening), len(tokens))
        if any(self._exceeds(own, known) for own in (stem, self.stem)):
            return None
        scores = opening[:known]
        if view is not None and known:
            scores = view.mix(scores, tokens[: known - 1])
        chosen, sure = greedy(stem.restrict(scores, tokens[:known]), 0)
        if chosen != tokens[:known]:
            return None
        return replace(self.middle, logp=[*sure, *self.middle.logp[known:]], steps=0)

    def _exceeds(self, stem: Stem, known: int) -> bool:
        """Return whether a stem is longer than the bytes of the first ``known`` tokens."""
        return len(stem.remaining) > sum(len(stem.tokens.of[token]) for token in self.middle.tokens[:known])
