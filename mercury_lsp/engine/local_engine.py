"""The engine's façade: a prompt in, the text of its middle out.

Owns the order of one infilling (encode, reuse the cache, prefill, decode, text) and its limits. Knows no LSP, no files
of the user, no syntax. One thread uses an engine at a time; `worker` sees to that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.api import Infill, Progress, Sampling, never
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.devices import executor_for
from mercury_lsp.engine.backends.passes import CHUNK, CachedModel
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.decoding.alternatives import REACH, branches
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
from mercury_lsp.engine.decoding.sampling import drawn, greedy
from mercury_lsp.engine.decoding.speculative import Drafting, decode_speculative
from mercury_lsp.engine.tokenizer import Hint, Prompt, Tokenizer, Vocabulary, encode
from mercury_lsp.engine.worker import Cancelled

BLOCK = 6  # tokens of a canvas that is not verified


class LocalEngine:
    """A loaded model with its cache. ``executor`` runs it, and is nobody else's."""

    def __init__(self, loaded: checkpoint.Checkpoint, executor: Executor) -> None:
        self.name = loaded.name
        self.fingerprint = loaded.fingerprint
        self.tokenizer: Tokenizer = loaded.tokenizer
        self.parameters = loaded.shape.parameters
        self.device = executor.device
        self.threads = executor.threads
        self._executor = executor
        self._passes = CachedModel(executor)
        eot = frozenset([self.tokenizer.specials.eot])
        self._any_end = StopCondition(eot, frozenset())
        self._token_bytes = token_bytes(self.tokenizer)
        self._line_end = StopCondition(eot, self._token_bytes.newlines)
        self._last: _Decoded | None = None
        self._encoded: tuple[Prompt, tuple[int, ...]] | None = None
        with checkpoint.or_sentence(loaded.folder):
            self._mixture = Mixture.load(loaded.folder, self.tokenizer.specials.eot)

    @classmethod
    def load(
        cls,
        model: str = "small",
        device: str = "auto",
        threads: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> LocalEngine:
        """Load a model by its name or folder.

        device: auto, cpu, cuda or mps. threads: 0 for all cores, at most 4. Raises `CheckpointError`.
        """
        loaded = checkpoint.load(checkpoint.find(model))
        return cls(loaded, executor_for(loaded, device, threads, progress))

    @property
    def passes(self) -> CachedModel:
        """The executor and the cache, for other ways to decode: between two infillings they are free to use."""
        return self._passes

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The tokens of a memory that may take part; None where no mixture was fitted to the model."""
        return None if self._mixture is None else self.tokenizer

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self.tokenizer.count(text)

    def stem_start(self, text: str) -> int:
        """Where the stem of a text begins, see `Vocabulary.stem_start`."""
        return self.tokenizer.stem_start(text)

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool] = never, least: int = 1) -> int:
        """Read a prompt into the cache ahead of its infilling, unless fewer tokens than ``least`` have to be read.

        Returns how many were read. Raises `Cancelled`.
        """
        ids = self._ids(prompt)
        kept = self._passes.cache.reuse(ids)
        if len(ids) - kept < least:
            return 0
        self._passes.read(ids[kept:], cancelled)
        return len(ids) - kept

    def infill(
        self,
        prompt: Prompt,
        sampling: Sampling,
        cancelled: Callable[[], bool] = never,
        on_progress: Callable[[Progress], None] | None = None,
        hint: Hint | None = None,
        memory: Memory | None = None,
    ) -> Infill:
        """Fill in the middle of a prompt. Raises `Cancelled` between two passes once ``cancelled()`` is true.

        Where the last infilling had the same prompt but for its stem, as while a user types within a word, the scores
        of that prompt's last row choose again, and as long as they choose the same there is no pass at all.
        memory: what stood elsewhere in the project, which is mixed with what the model foretells.
        """
        began = time.perf_counter()
        ids = self._ids(prompt)
        stem = self._stem(prompt, sampling)
        budget = DecodeBudget(sampling.max_passes, sampling.max_tokens, cancelled)
        view = self._view(ids, memory)
        last = self._last if self._last is not None and self._last.fits(ids, sampling) else None
        if last is not None and (again := last.given(stem, view)) is not None:
            budget.prefill_ends()
            return self._account(prompt, budget, began, len(ids), len(ids), view).infill(again)
        first = None if last is None or last.middle.opening is None else last.middle.opening[:1]
        if first is not None and self._passes.cache.reuse(ids) < len(ids):
            first = None
        cached = tail = len(ids)
        if first is None:
            cached = self._passes.cache.reuse(ids[:-1])
            # The last chunk is the decoder's: its last row foretells the middle.
            tail = max(cached, len(ids) - CHUNK)
            self._passes.read(ids[cached:tail], cancelled)
        account = self._account(prompt, budget, began, cached, len(ids), view)
        watcher = account.reporter(on_progress)
        looked_up, opening = self._hints(prompt.stem, hint)
        middle = self._decode(
            ids[tail:],
            sampling,
            self._ends(sampling),
            budget,
            watcher,
            stem,
            looked_up,
            opening or stem.draft(),
            first,
            view,
        )
        self._last = _Decoded(ids, sampling, stem, middle)
        return account.infill(middle)

    def alternatives(
        self,
        prompt: Prompt,
        sampling: Sampling,
        first: Infill,
        cancelled: Callable[[], bool] = never,
        memory: Memory | None = None,
    ) -> Iterator[Infill]:
        """Other middles than ``first``, the prompt's `infill`: those that leave it where that is likeliest come first.

        Each has another token at one place and goes on from there by itself. Raises `Cancelled` like `infill`.
        """
        began = time.perf_counter()
        ids = self._ids(prompt)
        stem, ends = self._stem(prompt, sampling), self._ends(sampling)
        every = self.tokenizer.encode(prompt.stem + first.text)
        tokens = every[: stem.hidden(every) + REACH]
        cached = self._passes.cache.reuse(ids[:-1])
        self._passes.read(ids[cached:-1], cancelled)
        clean = [ids[-1], *tokens]
        hidden = self._passes.run(clean, TokenLayout.clean(len(ids) - 1, len(clean)))
        scores = self._passes.scores(hidden)  # (n + 1, V)
        view = self._view(ids, memory)
        if view is not None:
            scores = view.mix(scores, tokens)
        scores = stem.restrict(scores, tokens)
        self._passes.cache.keep(clean)
        logp = [float(scores[i, token]) for i, token in enumerate(tokens)]
        to_end = first.finished and len(tokens) == len(every)
        for branch in branches(scores if to_end else scores[:-1], tokens):
            if cancelled():
                raise Cancelled
            begun = [*tokens[: branch.at], branch.token]
            sure = [*logp[: branch.at], branch.logp]
            budget = DecodeBudget(sampling.max_passes, sampling.max_tokens - len(begun), cancelled)
            budget.prefill_ends()
            if ends.behind(stem.hidden(begun[:-1]))(branch.at, branch.token):
                middle = DecodeResult(begun[:-1], sure, 0, True)
            elif budget.tokens > 0:
                kept = self._passes.cache.reuse([*ids, *begun[:-1]])
                rest = self._decode(
                    [*ids, *begun][kept:],
                    sampling,
                    replace(ends.behind(stem.hidden(begun)), before=len(begun) - stem.hidden(begun)),
                    budget,
                    lambda *_: None,
                    stem.behind(begun),
                    every,
                    tokens[branch.at + 1 :],
                    view=None if view is None else view.behind(begun),
                )
                middle = DecodeResult([*begun, *rest.tokens], [*sure, *rest.logp], rest.steps, rest.finished)
            else:
                continue
            yield self._account(prompt, budget, began, cached, len(ids), view).infill(middle)

    def _stem(self, prompt: Prompt, sampling: Sampling) -> Stem:
        """The stem of a prompt; where a block may come after the cursor's line, something has to."""
        goes_on = not sampling.single_line and not prompt.rest.strip()
        return Stem.of(self._token_bytes, prompt.stem, goes_on)

    def _ends(self, sampling: Sampling) -> StopCondition:
        return self._line_end if sampling.single_line else self._any_end

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        """What the model reads of a prompt; kept for the next one, which within a word differs in its stem alone."""
        read = replace(prompt, stem="")
        if self._encoded is None or self._encoded[0] != read:
            self._encoded = read, encode(read, self.tokenizer)
        return self._encoded[1]

    def _view(self, ids: Sequence[int], memory: Memory | None) -> MemoryView | None:
        """A memory behind the text before the middle of a prompt, of which these are the ids."""
        if memory is None or self._mixture is None:
            return None
        special = self.tokenizer.specials
        start, end = ids.index(special.fim_prefix) + 1, ids.index(special.fim_rest)
        return MemoryView(self._mixture, memory, ids[start:end])

    def _account(
        self,
        prompt: Prompt,
        budget: DecodeBudget,
        began: float,
        cached: int,
        read: int,
        view: MemoryView | None,
    ) -> ResultBuilder:
        ends, stem = self._line_end, prompt.stem
        texts = self._token_bytes.of
        return ResultBuilder(
            self.tokenizer, ends.tokens, ends.newlines, budget, began, cached, read, texts, stem, view
        )

    def _hints(self, stem: str, hint: Hint | None) -> tuple[list[int], list[int]]:
        """What drafts are looked up in, and of that the tokens that still come, the stem's first."""
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
        passes, mask = self._passes, self.tokenizer.specials.mask
        pick = drawn(sampling.temperature, sampling.seed) if sampling.temperature else greedy
        if sampling.mode == "autoregressive":
            return decode_autoregressive(passes, tail, ends, budget, on_progress, stem, pick, view)
        if sampling.verify:
            drafting = Drafting(
                mask,
                sampling.block or self._executor.block,
                surety=sampling.draft_surety,
                lookup=sampling.draft_lookup,
                slack=sampling.draft_slack,
                trust=sampling.draft_trust,
                canvas_threshold=self._executor.canvas_threshold
                if sampling.canvas_threshold is None
                else sampling.canvas_threshold,
                pick=pick,
            )
            return decode_speculative(
                passes, tail, drafting, ends, budget, on_progress, stem, hint, opening, first, view
            )
        block = sampling.block or BLOCK
        return decode_block_diffusion(
            passes, tail, mask, block, commit_rule(sampling), ends, budget, on_progress, stem
        )


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The last middle and what it was decoded behind: ``ids`` of the prompt, and the stem."""

    ids: tuple[int, ...]
    sampling: Sampling
    stem: Stem
    middle: DecodeResult

    def fits(self, ids: tuple[int, ...], sampling: Sampling) -> bool:
        """Whether it tells of a prompt with these tokens what a decoding by ``sampling`` would find anew."""
        exact = not sampling.temperature and not sampling.draft_slack and sampling.draft_trust >= 1
        causal = sampling.verify and sampling.mode == "diffusion"
        return exact and causal and (ids, sampling) == (self.ids, self.sampling)

    def given(self, stem: Stem, view: MemoryView | None) -> DecodeResult | None:
        """The same middle with its likelihood given another stem, and a memory; None where it may be another one.

        What a memory knows of the tokens behind the first ones may have changed since; that counts from the next pass
        on.
        """
        tokens, opening = self.middle.tokens, self.middle.opening
        if opening is None or stem.hidden(tokens) == len(tokens):
            return None
        known = min(len(opening), len(tokens))
        if any(self._left(one, known) for one in (stem, self.stem)):
            return None
        scores = opening[:known]
        if view is not None and known:
            scores = view.mix(scores, tokens[: known - 1])
        chosen, sure = greedy(stem.restrict(scores, tokens[:known]), 0)
        if chosen != tokens[:known]:
            return None
        return replace(self.middle, logp=[*sure, *self.middle.logp[known:]], steps=0)

    def _left(self, stem: Stem, known: int) -> bool:
        """Whether a stem restricts tokens of which the scores are not known."""
        left = len(stem.left) - sum(len(stem.tokens.of[token]) for token in self.middle.tokens[:known])
        return left > 0
