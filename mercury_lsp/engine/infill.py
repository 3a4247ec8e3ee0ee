"""The engine's façade: a prompt in, the text of its middle out.

Owns the order of one infilling (encode, reuse the cache, prefill, decode, text) and its limits. Knows no LSP, no files
of the user, no syntax. One thread uses an engine at a time; `worker` sees to that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mercury_lsp.engine import checkpoint
from mercury_lsp.engine.candidates import REACH, branches
from mercury_lsp.engine.canvas import (
    DRAFT_LOOKUP,
    DRAFT_SURETY,
    DRAFT_TRUST,
    ENTROPY_BOUND,
    Hint,
    Prompt,
    Tokenizer,
    encode,
)
from mercury_lsp.engine.choose import entropy_bound, threshold
from mercury_lsp.engine.decode import Drafting, Ends, Limit, Middle, Watch, refine, spell, verify
from mercury_lsp.engine.denoise import Settle
from mercury_lsp.engine.devices import executor_for
from mercury_lsp.engine.executor import Executor
from mercury_lsp.engine.passes import CHUNK, Passes
from mercury_lsp.engine.rows import Rows
from mercury_lsp.engine.worker import Cancelled

UNDECIDED = "░"
BLOCK = 6  # tokens of a canvas that is not verified


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to infill. ``mode``: diffusion or autoregressive; ``verify``: see `decode`; ``block``: tokens of a canvas, 0
    for as many as pay; the settings ``draft_...``: see `Drafting`, None for what pays on the device;
    ``entropy_bound``, or a ``threshold`` of probability where it is not 0: of the decoder without verifying."""

    mode: str = "diffusion"
    verify: bool = True
    block: int = 0
    max_tokens: int = 64
    max_passes: int = 64
    draft_surety: float = DRAFT_SURETY
    draft_lookup: int = DRAFT_LOOKUP
    draft_slack: float = 0.0
    draft_trust: float = DRAFT_TRUST
    draft_hedge: float | None = None
    entropy_bound: float = ENTROPY_BOUND
    threshold: float = 0.0
    single_line: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Where a line of a middle ends: ``end``, characters of the text before its new line; ``tokens`` up to that, with
    the one that has the new line, and the sum of their log-probabilities."""

    end: int
    tokens: int
    logp: float


@dataclass(frozen=True, slots=True)
class Infill:
    """A middle. Tokens are the visible ones and the end, where there is one; forward passes exclude the prefill's.

    ``confidence``: geometric mean probability of the tokens when committed; ``finished``: ended by ``<eot>`` or a
    line's end, not by a limit; ``lines``: all but the last.
    """

    text: str
    tokens: int
    steps: int
    forward_passes: int
    ms: float
    ms_prefill: float
    ms_denoise: float
    cached_tokens: int
    prompt_tokens: int
    confidence: float
    finished: bool
    lines: tuple[Line, ...] = ()

    def first(self, count: int) -> Infill:
        """Its first ``count`` lines, as if it had ended with them: the token that ends the last one counts as the end.

        What it cost stays what the whole has cost. More lines than there are give all of it.
        """
        if count > len(self.lines):
            return self
        line = self.lines[count - 1]
        return replace(
            self,
            text=self.text[: line.end],
            tokens=line.tokens,
            confidence=math.exp(line.logp / line.tokens),
            finished=True,
            lines=self.lines[: count - 1],
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A middle while it sharpens: `UNDECIDED` stands for each token that is still masked.

    ``settled``: what there would be if it ended here; of it nothing changes any more.
    """

    text: str
    decided: int
    total: int
    forward_passes: int
    settled: Infill


def never() -> bool:
    """Not cancelled."""
    return False


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
        self._any_end = Ends(self.tokenizer.specials.eot, frozenset())
        self._line_end = Ends(self.tokenizer.specials.eot, self.tokenizer.newlines())

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

        def infill(middle: Middle) -> Infill:
            return self._infill(middle, limit, began, cached, len(ids))

        def told(settled: Sequence[int], behind: Sequence[int | None], logp: Sequence[float]) -> None:
            if watch is not None:
                decided = len(settled) + sum(token is not None for token in behind)
                there = infill(Middle([*settled], [*logp], limit.passes, False))
                text, total = self._text(settled, behind), len(settled) + len(behind)
                watch(Draft(text, decided, total, limit.passes, there))

        return infill(self._decode(ids[tail:], sampling, ends, limit, told, hint))

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
            yield self._infill(middle, limit, began, cached, len(ids))

    def _infill(self, middle: Middle, limit: Limit, began: float, cached: int, read: int) -> Infill:
        """What a middle is when it has taken until now; of ``read`` tokens of its prompt so many were ``cached``."""
        now = time.perf_counter()
        text = self.tokenizer.decode(middle.tokens)
        return Infill(
            text=text,
            tokens=len(middle.tokens) + middle.finished,
            steps=middle.steps,
            forward_passes=limit.passes,
            ms=(now - began) * 1e3,
            ms_prefill=(limit.prefilled - began) * 1e3,
            ms_denoise=(now - limit.prefilled) * 1e3,
            cached_tokens=cached,
            prompt_tokens=read,
            confidence=math.exp(sum(middle.logp) / len(middle.logp)) if middle.logp else 0.0,
            finished=middle.finished,
            lines=self._lines(text, middle),
        )

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
        if sampling.mode == "autoregressive":
            return spell(passes, tail, ends, limit, watch)
        if sampling.verify:
            drafting = Drafting(
                mask,
                sampling.block or self._executor.block,
                surety=sampling.draft_surety,
                lookup=sampling.draft_lookup,
                slack=sampling.draft_slack,
                trust=sampling.draft_trust,
                hedge=self._executor.hedge if sampling.draft_hedge is None else sampling.draft_hedge,
            )
            before, left = map(self.tokenizer.encode, (hint.text, hint.left) if hint else ("", ""))
            return verify(passes, tail, drafting, ends, limit, watch, before, left)
        settle = Settle(entropy_bound(sampling.entropy_bound))
        if sampling.threshold:
            settle = Settle(threshold(sampling.threshold), by_entropy=False)
        return refine(passes, tail, mask, sampling.block or BLOCK, settle, ends, limit, watch)

    def _lines(self, text: str, middle: Middle) -> tuple[Line, ...]:
        """The lines of a middle's text that a token of it ends."""
        lines = []
        for i, token in enumerate(middle.tokens):
            if token in self._line_end.newlines:
                end = text.find("\n", len(self.tokenizer.decode(middle.tokens[:i])))
                lines.append(Line(end, i + 1, sum(middle.logp[: i + 1])))
        return tuple(lines)

    def _text(self, settled: Sequence[int], behind: Sequence[int | None]) -> str:
        """A draft's text up to its first ``<eot>``, a mark for each undecided token."""
        eot = self.tokenizer.specials.eot
        text, run = "", list(settled)
        for token in behind[: behind.index(eot)] if eot in behind else behind:
            if token is None:
                text, run = text + self.tokenizer.decode(run) + UNDECIDED, []
            else:
                run.append(token)
        return text + self.tokenizer.decode(run)
