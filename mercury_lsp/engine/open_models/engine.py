"""Fills in the middle of a prompt with an open diffusion model, with a canvas between two texts or in blocks.

If the model cannot change the size of a canvas, several sizes are decoded, and the middle with the highest mean
log-probability of its tokens wins. A sum would prefer short texts, because each token can only lower it.
Length-normalized beam search ranks by the mean, too (Wu et al. 2016), which needs no constant per model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from mercury_lsp.engine.api import DEFAULT_RUN, Infill, Progress, Run, Sampling, never_cancelled
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.kv_cache import CachedModel
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.decoding.decode import DecodeBudget, StopCondition
from mercury_lsp.engine.decoding.healing import Stem, token_bytes
from mercury_lsp.engine.decoding.result import ResultBuilder, commit_rule
from mercury_lsp.engine.open_models.bidirectional import (
    BidirectionalCanvas,
    denoise_expandable,
    denoise_fixed,
)
from mercury_lsp.engine.open_models.blocks import BlockModel, decode_in_blocks
from mercury_lsp.engine.open_models.prompt_format import canvas_context, fim_prompt
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import Cancelled

# Canvas sizes in tokens, for single lines and short bodies.
CANVAS_SIZES = (4, 8, 16, 32, 64)
# After a middle with this geometric mean probability no larger canvas is tried.
SUFFICIENT_PROBABILITY = 0.9


class OpenModelEngine:
    """A loaded open diffusion model, on an executor that no other engine uses; used by one thread at a time."""

    def __init__(self, loaded: OpenCheckpoint, executor: Executor) -> None:
        self.name = loaded.name
        self.family = loaded.family.name
        self.tokenizer = loaded.tokenizer
        self.count, self.stem_start = self.tokenizer.count, self.tokenizer.stem_start
        # The project memory continues a text to the right; it cannot be mixed with a bidirectional canvas.
        self.vocabulary = None
        self.parameters = loaded.shape.parameters
        self.device, self.threads = executor.device, executor.threads
        self._loaded, self._executor = loaded, executor
        self._token_bytes = token_bytes(loaded.tokenizer)
        self._block_model: BlockModel | None = None
        assert loaded.mask is not None, "a diffusion model has a mask"
        self._mask = loaded.mask
        if loaded.family.block_causal:
            family = loaded.family
            self._block_model = BlockModel(CachedModel(executor), family.block, self._mask, family.shift)
        self._last_middles: tuple[Prompt, Sampling, list[Infill]] | None = None

    def prefill(
        self, prompt: Prompt, cancelled: Callable[[], bool] = never_cancelled, min_tokens: int = 1
    ) -> int:
        """Prefill the whole blocks of a prompt, unless the cache lacks fewer than ``min_tokens`` of their tokens.

        Returns the number of tokens that were read; 0 for bidirectional models, which have no cache. Raises
        `Cancelled`.
        """
        if self._block_model is None:
            return 0
        ids = self._prompt_ids(prompt, self._limit_tokens(Sampling()))
        cached = self._block_model.reuse(ids)
        missing = ids[cached : len(ids) // self._block_model.block_size * self._block_model.block_size]
        if len(missing) < min_tokens:
            return 0
        self._block_model.extend(missing, cancelled)
        return len(missing)

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = DEFAULT_RUN) -> Infill:
        """Fill in the middle of a prompt. ``sampling.mode``, ``run.hint`` and ``run.memory`` have no effect.

        Raises `Cancelled` between two passes after ``run.cancelled()`` turns true.
        """
        started = time.perf_counter()
        sampling = self._limit_tokens(sampling)
        budget = DecodeBudget(sampling.max_passes, sampling.max_tokens, run.cancelled)
        newlines = self._token_bytes.newlines if sampling.single_line else frozenset[int]()
        stop = StopCondition(self._loaded.stop_tokens, newlines)
        family, stem = self._loaded.family, Stem.of(self._token_bytes, prompt.stem)

        def result_builder(cached_tokens: int, prompt_tokens: int) -> ResultBuilder:
            return ResultBuilder(
                self._token_bytes, stop.tokens, budget, started, cached_tokens, prompt_tokens, prompt.stem
            )

        if self._block_model is not None:
            ids = self._prompt_ids(prompt, sampling)
            builder = result_builder(self._block_model.reuse(ids), len(ids))
            report = builder.reporter(run.on_progress)
            return builder.infill(
                decode_in_blocks(self._block_model, ids, stop, commit_rule(sampling), budget, report, stem)
            )
        before, after = canvas_context(
            prompt, self._loaded, self._loaded.shape.positions - sampling.max_tokens
        )
        builder = result_builder(0, len(before) + len(after))
        canvas_model = BidirectionalCanvas(
            self._executor, before, after, self._mask, family.shift, sampling.refresh
        )
        budget.mark_prefilled()
        if family.expand:
            expand = self.tokenizer.added[family.expand]
            report = builder.reporter(run.on_progress)
            return builder.infill(
                denoise_expandable(canvas_model, expand, stop.tokens, stop.newlines, budget, report, stem)
            )
        middles = self._infill_all_sizes(canvas_model, sampling, stop, builder, run.on_progress, stem)
        return self._select_best(prompt, sampling, list(middles))

    def alternatives(
        self, prompt: Prompt, sampling: Sampling, first: Infill, run: Run = DEFAULT_RUN
    ) -> Iterator[Infill]:
        """Yield middles other than ``first`` from canvases of other sizes, likeliest first.

        Yields nothing for models that decode only one canvas. Raises `Cancelled` like `infill`.
        """
        if self._block_model is not None or self._loaded.family.expand:
            return
        if self._last_middles is None or self._last_middles[:2] != (prompt, self._limit_tokens(sampling)):
            self.infill(prompt, sampling, run)
        texts = {first.text}
        for middle in self._last_middles[2] if self._last_middles is not None else ():
            if run.cancelled():
                raise Cancelled
            if middle.text not in texts:
                texts.add(middle.text)
                yield middle

    def _limit_tokens(self, sampling: Sampling) -> Sampling:
        """Return the sampling with at most half of the positions for the middle; the rest is for the prompt."""
        max_tokens = min(sampling.max_tokens, self._loaded.shape.positions // 2)
        return replace(sampling, max_tokens=max_tokens)

    def _prompt_ids(self, prompt: Prompt, sampling: Sampling) -> list[int]:
        """Encode the prompt for a block-causal model, with room for the middle."""
        block = self._loaded.family.block
        return fim_prompt(
            prompt, self._loaded, self._loaded.shape.positions - sampling.max_tokens - 2 * block
        )

    def _infill_all_sizes(
        self,
        canvas_model: BidirectionalCanvas,
        sampling: Sampling,
        stop: StopCondition,
        builder: ResultBuilder,
        on_progress: Callable[[Progress], None] | None,
        stem: Stem,
    ) -> Iterator[Infill]:
        """Yield the middles of canvases of growing sizes, until one is likely enough or no pass is left."""
        canvas_sizes = (sampling.block,) if sampling.block else CANVAS_SIZES
        sizes = sorted({min(size, sampling.max_tokens) for size in canvas_sizes})
        budget, report = builder.budget, builder.reporter(on_progress)
        for size in (min(size + len(stem.draft()), sampling.max_tokens) for size in sizes):
            # No token is reported as committed, because a middle of another size may be likelier.
            middle = builder.infill(
                denoise_fixed(
                    canvas_model,
                    size,
                    stop,
                    commit_rule(sampling),
                    budget,
                    stem,
                    lambda canvas: report((), canvas, ()),
                )
            )
            yield middle
            if (middle.finished and middle.confidence >= SUFFICIENT_PROBABILITY) or not budget.allows_pass():
                return

    def _select_best(self, prompt: Prompt, sampling: Sampling, middles: list[Infill]) -> Infill:
        """Return the best middle: finished before unfinished, then by mean probability. Keep all for `alternatives`."""
        middles.sort(key=lambda middle: (not middle.finished, -middle.confidence, middle.tokens))
        self._last_middles = prompt, sampling, middles
        # The last middle has the cost of all middles.
        last = max(middles, key=lambda middle: middle.forward_passes)
        return replace(middles[0], forward_passes=last.forward_passes, ms=last.ms, ms_denoise=last.ms_denoise)
