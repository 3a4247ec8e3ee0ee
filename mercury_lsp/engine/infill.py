"""The engine's façade: a prompt in, the text of its middle out.

Owns the order of one infilling (encode, reuse the cache, prefill, decode, text) and its limits. Knows no LSP, no files
of the user, no syntax. One thread uses an engine at a time; `worker` sees to that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mercury_lsp.engine import checkpoint
from mercury_lsp.engine.candidates import REACH, branches
from mercury_lsp.engine.canvas import Hint, Prompt, Tokenizer, encode
from mercury_lsp.engine.decode import Drafting, Ends, Limit, Middle, Watch, refine, spell, verify
from mercury_lsp.engine.devices import executor_for
from mercury_lsp.engine.executor import Executor
from mercury_lsp.engine.infiller import Draft, Infill, Sampling, never
from mercury_lsp.engine.middles import Account, settling
from mercury_lsp.engine.passes import CHUNK, Passes
from mercury_lsp.engine.rows import Rows
from mercury_lsp.engine.sample import drawn, greedy
from mercury_lsp.engine.worker import Cancelled

BLOCK = 6  # tokens of a canvas that is not verified


class Engine:
    """A loaded model with its cache. ``executor`` runs it, and is nobody else's."""

    def __init__(self, loaded: checkpoint.Checkpoint, executor: Executor) -> None:
        self.name = loaded.name
        self.fingerprint = loaded.fingerprint
        self.tokenizer: Tokenizer = loaded.tokenizer
        self.parameters = loaded.shape.parameters
        self.device = executor.device
        self.threads = executor.threads
        self._executor = executor
        self._passes = Passes(executor)
        eot = frozenset([self.tokenizer.specials.eot])
        self._any_end = Ends(eot, frozenset())
        self._line_end = Ends(eot, self.tokenizer.newlines())

    @classmethod
    def load(
        cls,
        model: str = "small",
        device: str = "auto",
        threads: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> Engine:
        """Load a model by its name or folder.

        device: auto, cpu, cuda or mps. threads: 0 for all cores, at most 4. Raises `CheckpointError`.
        """
        loaded = checkpoint.load(checkpoint.find(model))
        return cls(loaded, executor_for(loaded, device, threads, progress))

    @property
    def passes(self) -> Passes:
        """The executor and the cache, for other ways to decode: between two infillings they are free to use."""
        return self._passes

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self.tokenizer.count(text)

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool] = never, least: int = 1) -> int:
        """Read a prompt into the cache ahead of its infilling, unless fewer tokens than ``least`` have to be read.

        Returns how many were read. Raises `Cancelled`.
        """
        ids = encode(prompt, self.tokenizer)
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
        watch: Callable[[Draft], None] | None = None,
        hint: Hint | None = None,
    ) -> Infill:
        """Fill in the middle of a prompt. Raises `Cancelled` between two passes once ``cancelled()`` is true."""
        began = time.perf_counter()
        ids = encode(prompt, self.tokenizer)
        cached = self._passes.cache.reuse(ids[:-1])
        tail = max(
            cached, len(ids) - CHUNK
        )  # the decoder reads the last chunk: its last row foretells the middle
        self._passes.read(ids[cached:tail], cancelled)
        limit = Limit(sampling.max_passes, sampling.max_tokens, cancelled)
        ends = self._line_end if sampling.single_line else self._any_end

        account = self._account(limit, began, cached, len(ids))
        return account.infill(self._decode(ids[tail:], sampling, ends, limit, account.telling(watch), hint))

    def alternatives(
        self, prompt: Prompt, sampling: Sampling, first: Infill, cancelled: Callable[[], bool] = never
    ) -> Iterator[Infill]:
        """Other middles than ``first``, the prompt's `infill`: those that leave it where that is likeliest come first.

        Each has another token at one place and goes on from there by itself. Raises `Cancelled` like `infill`.
        """
        began = time.perf_counter()
        ids = encode(prompt, self.tokenizer)
        ends = self._line_end if sampling.single_line else self._any_end
        every = self.tokenizer.encode(first.text)
        tokens = every[:REACH]
        cached = self._passes.cache.reuse(ids[:-1])
        self._passes.read(ids[cached:-1], cancelled)
        clean = [ids[-1], *tokens]
        hidden = self._passes.run(clean, Rows.clean(len(ids) - 1, len(clean)))
        scores = self._passes.scores(hidden)  # (n + 1, V)
        self._passes.cache.keep(clean)
        logp = [float(scores[i, token]) for i, token in enumerate(tokens)]
        to_end = first.finished and len(tokens) == len(every)
        for branch in branches(scores if to_end else scores[:-1], tokens):
            if cancelled():
                raise Cancelled
            stem = [*tokens[: branch.at], branch.token]
            sure = [*logp[: branch.at], branch.logp]
            limit = Limit(sampling.max_passes, sampling.max_tokens - len(stem), cancelled)
            limit.prefill_ends()
            if ends(branch.at, branch.token):
                middle = Middle(stem[:-1], sure, 0, True)
            elif limit.tokens > 0:
                kept = self._passes.cache.reuse([*ids, *stem[:-1]])
                hint = Hint(first.text, self.tokenizer.decode(tokens[: branch.at + 1]))
                rest = self._decode(
                    [*ids, *stem][kept:],
                    sampling,
                    replace(ends, before=len(stem)),
                    limit,
                    lambda *_: None,
                    hint,
                )
                middle = Middle([*stem, *rest.tokens], [*sure, *rest.logp], rest.steps, rest.finished)
            else:
                continue
            yield self._account(limit, began, cached, len(ids)).infill(middle)

    def _account(self, limit: Limit, began: float, cached: int, read: int) -> Account:
        ends = self._line_end
        return Account(self.tokenizer, ends.tokens, ends.newlines, limit, began, cached, read)

    def _decode(
        self,
        tail: Sequence[int],
        sampling: Sampling,
        ends: Ends,
        limit: Limit,
        watch: Watch,
        hint: Hint | None,
    ) -> Middle:
        passes, mask = self._passes, self.tokenizer.specials.mask
        pick = drawn(sampling.temperature, sampling.seed) if sampling.temperature else greedy
        if sampling.mode == "autoregressive":
            return spell(passes, tail, ends, limit, watch, pick)
        if sampling.verify:
            drafting = Drafting(
                mask,
                sampling.block or self._executor.block,
                surety=sampling.draft_surety,
                lookup=sampling.draft_lookup,
                slack=sampling.draft_slack,
                trust=sampling.draft_trust,
                hedge=self._executor.hedge if sampling.draft_hedge is None else sampling.draft_hedge,
                pick=pick,
            )
            before, left = map(self.tokenizer.encode, (hint.text, hint.left) if hint else ("", ""))
            return verify(passes, tail, drafting, ends, limit, watch, before, left)
        return refine(passes, tail, mask, sampling.block or BLOCK, settling(sampling), ends, limit, watch)
