"""The engine of open diffusion models: a prompt in, the text of its middle out.

Owns the order of one infilling for both kinds of attention: a canvas between two texts where all see all, and blocks
behind a question for the middle where no row sees a later block. Knows no LSP and no files of the user. One thread uses
an engine at a time.

Where a canvas cannot change its size, several sizes are decoded and the middle with the highest mean log-probability of
its tokens is taken. A sum would be length's, not the text's: each token more can only lower it. The mean is what
length-normalized beam search ranks by (Wu et al. 2016); it needs no constant that would have to be tuned per model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from mercury_lsp.engine.api import Infill, Progress, Sampling, never
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.passes import CachedModel
from mercury_lsp.engine.checkpoints.huggingface import OpenCheckpoint
from mercury_lsp.engine.decoding.decode import DecodeBudget, StopCondition
from mercury_lsp.engine.decoding.healing import Stem, token_bytes
from mercury_lsp.engine.decoding.mixture import Memory
from mercury_lsp.engine.decoding.result import ResultBuilder, commit_rule
from mercury_lsp.engine.open_models.bidirectional import (
    BidirectionalCanvas,
    denoise_expandable,
    denoise_fixed,
)
from mercury_lsp.engine.open_models.blocks import Blocks, in_blocks
from mercury_lsp.engine.open_models.prompt_format import around, asked
from mercury_lsp.engine.tokenizer import Hint, Prompt
from mercury_lsp.engine.worker import Cancelled

SIZES = (4, 8, 16, 32, 64)  # of canvases: as many tokens as single lines and short bodies have
SURE = 0.9  # geometric mean probability of a middle that is right: no larger canvas is tried


class OpenModelEngine:
    """A loaded open model. ``executor`` runs it, and is nobody else's."""

    def __init__(self, loaded: OpenCheckpoint, executor: Executor) -> None:
        self.name = loaded.name
        self.family = loaded.family.name
        self.tokenizer = loaded.tokenizer
        self.parameters = loaded.shape.parameters
        self.device = executor.device
        self.threads = executor.threads
        self._loaded, self._executor = loaded, executor
        self._token_bytes = token_bytes(loaded.tokenizer)
        self._newlines = self._token_bytes.newlines
        self._blocks: Blocks | None = None
        if loaded.family.block_causal:
            family = loaded.family
            self._blocks = Blocks(CachedModel(executor), family.block, loaded.mask, family.shift)
        self._tried: tuple[Prompt, Sampling, list[Infill]] | None = None

    @property
    def vocabulary(self) -> None:
        """None: canvases that see both ways cannot be mixed with what followed elsewhere."""
        return None

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self.tokenizer.count(text)

    def stem_start(self, text: str) -> int:
        """Where the stem of a text begins, see `Vocabulary.stem_start`."""
        return self.tokenizer.stem_start(text)

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool] = never, least: int = 1) -> int:
        """Read the whole blocks of a prompt, unless fewer tokens than ``least`` have to be read.

        Returns how many were read: 0 for models that see both ways, where nothing that is read would last.
        """
        if self._blocks is None:
            return 0
        ids = self._asked(prompt, self._fitting(Sampling()))
        kept = self._blocks.reuse(ids)
        left = ids[kept : len(ids) // self._blocks.block * self._blocks.block]
        if len(left) < least:
            return 0
        self._blocks.read(left, cancelled)
        return len(left)

    def infill(
        self,
        prompt: Prompt,
        sampling: Sampling,
        cancelled: Callable[[], bool] = never,
        on_progress: Callable[[Progress], None] | None = None,
        hint: Hint | None = None,
        memory: Memory | None = None,
    ) -> Infill:
        """Fill in the middle of a prompt. ``sampling.mode``, ``hint`` and ``memory`` change nothing: these models only
        denoise.

        Raises `Cancelled` between two passes once ``cancelled()`` is true.
        """
        began = time.perf_counter()
        sampling = self._fitting(sampling)
        budget = DecodeBudget(sampling.max_passes, sampling.max_tokens, cancelled)
        stops = StopCondition(self._loaded.ends, self._newlines if sampling.single_line else frozenset())
        family, stem = self._loaded.family, Stem.of(self._token_bytes, prompt.stem)

        def account(cached: int, read: int) -> ResultBuilder:
            newlines, texts = self._newlines, self._token_bytes.of
            return ResultBuilder(
                self.tokenizer, stops.tokens, newlines, budget, began, cached, read, texts, prompt.stem
            )

        if self._blocks is not None:
            ids = self._asked(prompt, sampling)
            told = account(self._blocks.reuse(ids), len(ids))
            return told.infill(
                in_blocks(
                    self._blocks, ids, stops, commit_rule(sampling), budget, told.reporter(on_progress), stem
                )
            )
        before, after = around(prompt, self._loaded, self._loaded.shape.positions - sampling.max_tokens)
        told = account(0, len(before) + len(after))
        between = BidirectionalCanvas(
            self._executor, before, after, self._loaded.mask, family.shift, sampling.refresh
        )
        budget.prefill_ends()
        if family.expand:
            expand = self.tokenizer.added[family.expand]
            return told.infill(
                denoise_expandable(
                    between, expand, stops.tokens, stops.newlines, budget, told.reporter(on_progress), stem
                )
            )
        return self._ranked(
            prompt, sampling, list(self._sizes(between, sampling, stops, told, on_progress, stem))
        )

    def alternatives(
        self,
        prompt: Prompt,
        sampling: Sampling,
        first: Infill,
        cancelled: Callable[[], bool] = never,
        memory: Memory | None = None,
    ) -> Iterator[Infill]:
        """Other middles than ``first``: those of canvases of other sizes, the likeliest first. None where there is one
        canvas only. Raises `Cancelled` like `infill`."""
        if self._blocks is not None or self._loaded.family.expand:
            return
        if self._tried is None or self._tried[:2] != (prompt, self._fitting(sampling)):
            self.infill(prompt, sampling, cancelled)
        texts = {first.text}
        for found in self._tried[2] if self._tried is not None else ():
            if cancelled():
                raise Cancelled
            if found.text not in texts:
                texts.add(found.text)
                yield found

    def _fitting(self, sampling: Sampling) -> Sampling:
        """The same with no more tokens than leave half of the longest sequence to the prompt."""
        most = min(sampling.max_tokens, self._loaded.shape.positions // 2)
        return replace(sampling, max_tokens=most)

    def _asked(self, prompt: Prompt, sampling: Sampling) -> list[int]:
        """A block-causal model's question, with room for the answer."""
        block = self._loaded.family.block
        return asked(prompt, self._loaded, self._loaded.shape.positions - sampling.max_tokens - 2 * block)

    def _sizes(
        self,
        between: BidirectionalCanvas,
        sampling: Sampling,
        stops: StopCondition,
        account: ResultBuilder,
        on_progress: Callable[[Progress], None] | None,
        stem: Stem,
    ) -> Iterator[Infill]:
        """The middles of canvases of several sizes, the small ones first, until one is sure or no pass is left."""
        sizes = sorted(
            {min(size, sampling.max_tokens) for size in (sampling.block,) if size} or _up_to(sampling)
        )
        budget, told = account.budget, account.reporter(on_progress)
        for size in (min(size + len(stem.draft()), sampling.max_tokens) for size in sizes):
            # None of a draft is committed: a middle of another size may turn out to be likelier.
            middle = denoise_fixed(
                between, size, stops, commit_rule(sampling), budget, stem, lambda canvas: told((), canvas, ())
            )
            found = account.infill(middle)
            yield found
            if (found.finished and found.confidence >= SURE) or not budget.may_go_on():
                return

    def _ranked(self, prompt: Prompt, sampling: Sampling, found: list[Infill]) -> Infill:
        """The best of some middles: finished ones first, then by their mean; all are kept as `alternatives`."""
        found.sort(key=lambda one: (not one.finished, -one.confidence, one.tokens))
        self._tried = prompt, sampling, found
        last = max(found, key=lambda one: one.forward_passes)  # what all of them have cost
        return replace(found[0], forward_passes=last.forward_passes, ms=last.ms, ms_denoise=last.ms_denoise)


def _up_to(sampling: Sampling) -> set[int]:
    """The sizes of canvases up to the most tokens that are wanted."""
    return {size for size in SIZES if size < sampling.max_tokens} | {min(sampling.max_tokens, SIZES[-1])}
