"""The engine's façade: a prompt in, the text of its middle out.

Owns the order of one infilling (encode, reuse the cache, prefill, denoise block after block, decode) and its limits.
Knows no LSP, no files of the user, no syntax. One thread uses an engine at a time; `worker` sees to that.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mercury_lsp.engine import checkpoint
from mercury_lsp.engine.cache import Cache
from mercury_lsp.engine.canvas import ENTROPY_BOUND, Prompt, Tokenizer, encode
from mercury_lsp.engine.denoise import denoise
from mercury_lsp.engine.network import Network, Rows, visible
from mercury_lsp.engine.worker import Cancelled

CHUNK = 64  # rows of prefill between two looks at cancellation
UNDECIDED = "░"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to infill. ``deadline_ms``: 0 for none; ``entropy_bound``: nats, see `choose`."""

    mode: str = "diffusion"
    block: int = 16
    max_tokens: int = 64
    max_passes: int = 64
    deadline_ms: float = 0.0
    entropy_bound: float = ENTROPY_BOUND
    single_line: bool = False


@dataclass(frozen=True, slots=True)
class Infill:
    """A middle. Tokens are the visible ones and the end, where there is one; forward passes exclude the prefill's.

    ``confidence``: geometric mean probability of the tokens when committed; ``finished``: ended by ``<eot>`` or a
    line's end, not by a limit.
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


@dataclass(frozen=True, slots=True)
class Draft:
    """A middle while it sharpens: `UNDECIDED` stands for each token that is still masked."""

    text: str
    decided: int
    total: int
    forward_passes: int


def never() -> bool:
    """Not cancelled."""
    return False


class Engine:
    """A loaded model with its cache."""

    def __init__(self, loaded: checkpoint.Checkpoint, device: torch.device) -> None:
        self.name = loaded.name
        self.fingerprint = loaded.fingerprint
        self.tokenizer: Tokenizer = loaded.tokenizer
        self.network: Network = loaded.network.to(device)
        self.device = str(device)
        self.threads = torch.get_num_threads()
        weight = self.network.embedding.weight
        self._cache = Cache(self.network.shape, weight.dtype, device)
        self._forbidden = torch.tensor(self.tokenizer.hidden, device=device)

    @classmethod
    def load(
        cls, model: str = "small", device: str = "auto", threads: int = 0, progress: Callable[[float], None] | None = None
    ) -> Engine:
        """Load a model by its name or folder.

        device: auto, cpu, cuda or mps. threads: 0 for all cores, at most 4. Raises `CheckpointError`.
        """
        if threads or device in ("auto", "cpu"):
            torch.set_num_threads(threads or min(4, os.cpu_count() or 1))
        place = pick_device(device)
        return cls(checkpoint.load(checkpoint.find(model), pick_dtype(place), progress), place)

    @property
    def parameters(self) -> int:
        """How many weights the model has."""
        return sum(weight.numel() for weight in self.network.parameters())

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self.tokenizer.count(text)

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool] = never) -> int:
        """Read a prompt into the cache ahead of its infilling; returns how many tokens had to be read."""
        ids = encode(prompt, self.tokenizer)
        kept = self._cache.reuse(ids)
        self._read(ids[kept:], cancelled)
        return len(ids) - kept

    def infill(
        self,
        prompt: Prompt,
        sampling: Sampling,
        cancelled: Callable[[], bool] = never,
        watch: Callable[[Draft], None] | None = None,
    ) -> Infill:
        """Fill in the middle of a prompt. Raises `Cancelled` between two passes once ``cancelled()`` is true."""
        began = time.perf_counter()
        ids = encode(prompt, self.tokenizer)
        cached = self._cache.reuse(ids[:-1])
        last = self._read(ids[cached:], cancelled)
        prefilled = time.perf_counter()
        limit = _Limit(sampling, began, cancelled)
        fill = self._refine if sampling.mode == "diffusion" else self._spell
        tokens, logp, passes, finished = fill(last, sampling, limit, watch)
        done = time.perf_counter()
        return Infill(
            text=self.tokenizer.decode(tokens),
            tokens=len(tokens) + finished,
            steps=passes,
            forward_passes=limit.passes,
            ms=(done - began) * 1e3,
            ms_prefill=(prefilled - began) * 1e3,
            ms_denoise=(done - prefilled) * 1e3,
            cached_tokens=cached,
            prompt_tokens=len(ids),
            confidence=math.exp(sum(logp) / len(logp)) if logp else 0.0,
            finished=finished,
        )

    @torch.inference_mode()
    def _read(self, ids: Sequence[int], cancelled: Callable[[], bool]) -> Tensor:
        """Run known tokens causally behind the cache and keep them; returns the last row. (width,)"""
        hidden = torch.empty(0)
        for at in range(0, len(ids), CHUNK):
            if cancelled():
                raise Cancelled
            chunk = ids[at : at + CHUNK]
            hidden = self._run(chunk, Rows.clean(len(self._cache.ids), len(chunk)))[-1]
            self._cache.keep(chunk)
        return hidden

    def _run(self, ids: Sequence[int], rows: Rows) -> Tensor:
        """One forward pass of new rows behind the cache, by the attention rule. Returns (T, width)."""
        past = len(self._cache.ids)
        self._cache.reserve(past + len(ids))
        # A canvas sees all the context and itself both ways, and so does a single clean row: no mask to build.
        everything = len(ids) == 1 or bool(rows.canvas.all())
        mask = None if everything else self._mask(rows, past)
        device = self._forbidden.device
        given = torch.tensor([ids], device=device)
        return self.network(given, rows.position.to(device)[None], mask, self._cache)[0]  # type: ignore[no-any-return]

    def _mask(self, rows: Rows, past: int) -> Tensor:
        both = zip(*(_fields(Rows.clean(0, past)), _fields(rows)), strict=True)
        keys = Rows(*(torch.cat(pair) for pair in both))
        return visible(rows, keys)[None].to(self._forbidden.device)  # (1, T, S)

    def _scores(self, hidden: Tensor) -> Tensor:
        """Logits without the tokens that must never be shown. (n, width) -> (n, V)"""
        return self.network.logits(hidden).index_fill(-1, self._forbidden, -torch.inf)

    @torch.inference_mode()
    def _refine(
        self, last: Tensor, sampling: Sampling, limit: _Limit, watch: Callable[[Draft], None] | None
    ) -> tuple[list[int], list[float], int, bool]:
        """Denoise block after block."""
        mask = self.tokenizer.specials.mask
        tokens: list[int] = []
        logp: list[float] = []
        steps = 0
        while len(tokens) < sampling.max_tokens:
            size = min(sampling.block, sampling.max_tokens - len(tokens))
            rows = Rows.block(len(self._cache.ids), size)
            anchor = self._cache.ids[-1]

            def predict(block: Sequence[int | None], rows: Rows = rows, anchor: int = anchor) -> Tensor:
                limit.passes += 1
                hidden = self._run([anchor, *(mask if token is None else token for token in block)], rows)
                wanted = [i for i, token in enumerate(block) if token is None]  # row i predicts the block's i
                return self._scores(hidden[wanted])

            def seen(block: Sequence[int | None], before: tuple[int, ...] = tuple(tokens)) -> None:
                if watch is not None:
                    watch(self._draft(before, block, limit.passes))

            ends = _Ends(self, tokens, sampling.single_line)
            block = denoise(predict, size, ends, sampling.entropy_bound, limit.may_go_on, seen)
            tokens += block.tokens
            logp += block.logp
            steps += block.passes
            if block.ended or not block.full or not limit.may_go_on():
                return tokens, logp, steps, block.ended
            if len(tokens) < sampling.max_tokens:
                limit.passes += 1
                self._read(block.tokens, limit.cancelled)
        return tokens, logp, steps, False

    @torch.inference_mode()
    def _spell(
        self, last: Tensor, sampling: Sampling, limit: _Limit, watch: Callable[[Draft], None] | None
    ) -> tuple[list[int], list[float], int, bool]:
        """Autoregressive decoding with the same weights: the baseline. The prefill's last row gives the first token."""
        tokens: list[int] = []
        logp: list[float] = []
        while True:
            scores = self._scores(last[None])[0].float().log_softmax(-1)
            token = int(scores.argmax())
            logp.append(float(scores[token]))
            if _Ends(self, tokens, sampling.single_line)(0, token):
                return tokens, logp, limit.passes, True
            tokens.append(token)
            if watch is not None:
                watch(self._draft(tuple(tokens), (), limit.passes))
            if len(tokens) >= sampling.max_tokens or not limit.may_go_on():
                return tokens, logp, limit.passes, False
            limit.passes += 1
            last = self._read([token], limit.cancelled)

    def _draft(self, before: Sequence[int], block: Sequence[int | None], passes: int) -> Draft:
        """The draft of a block, up to its first ``<eot>``, behind the blocks before it."""
        eot = self.tokenizer.specials.eot
        shown = list(block[: block.index(eot)] if eot in block else block)
        while shown and shown[-1] is None:
            shown.pop()
        text, run = "", list(before)
        for token in shown:
            if token is None:
                text, run = text + self.tokenizer.decode(run) + UNDECIDED, []
            else:
                run.append(token)
        decided = len(before) + sum(token is not None for token in block)
        return Draft(text + self.tokenizer.decode(run), decided, len(before) + len(block), passes)

    @cached_property
    def newlines(self) -> frozenset[int]:
        """Ids of tokens whose text has a line's end in it."""
        decode = self.tokenizer.decode
        return frozenset(i for i in range(self.tokenizer.size) if "\n" in decode([i]))


def _fields(rows: Rows) -> tuple[Tensor, ...]:
    return rows.position, rows.start, rows.canvas, rows.branch, rows.fork


class _Ends:
    """An ``<eot>`` ends a middle; where one line is wanted, so does a line's end behind its first token."""

    def __init__(self, engine: Engine, before: Sequence[int], single_line: bool) -> None:
        self._eot = engine.tokenizer.specials.eot
        self._newlines = engine.newlines if single_line else frozenset[int]()
        self._begun = len(before) > 0

    def __call__(self, index: int, token: int) -> bool:
        return token == self._eot or (token in self._newlines and (self._begun or index > 0))


class _Limit:
    """Counts passes, and says when to stop."""

    def __init__(self, sampling: Sampling, began: float, cancelled: Callable[[], bool]) -> None:
        self.passes = 0
        self.cancelled = cancelled
        self._most = sampling.max_passes
        self._until = began + sampling.deadline_ms / 1e3 if sampling.deadline_ms else math.inf

    def may_go_on(self) -> bool:
        """Asked before each pass. Raises `Cancelled`."""
        if self.cancelled():
            raise Cancelled
        return self.passes < self._most and time.perf_counter() < self._until


def pick_device(device: str) -> torch.device:
    """The device of a setting; auto prefers CUDA, then Apple's MPS, then the CPU."""
    if device == "auto":
        if torch.cuda.is_available():
            device = "cuda"
        else:
            device = "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(device)


def pick_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device computes in it, fp16 on MPS, else fp32."""
    if device.type == "mps":
        return torch.float16
    if device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32
