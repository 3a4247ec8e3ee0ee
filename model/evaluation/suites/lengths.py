"""Compares four ways to find the length of a middle before denoising with letting the model end it.

Owns infilling on a canvas whose length is told: an ``<eot>`` stands behind the masks from the first pass on. Candidate
lengths are decoded as one batch, each a canvas behind the one cache and blind to the others; then one causal pass, in
which each candidate is a branch of the prompt, gives its exact likelihood with its end. An experiment of the workshop:
what it showed is in the model card, and the server does not use it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.api import Infill, never_cancelled
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.decoding.denoise import entropy, positions_to_commit
from mercury_lsp.engine.decoding.denoise import entropy_bound as bounded
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt, Tokenizer, encode_prompt

SIZE = 16  # of the canvas, the end included: lengths are 1 to 15
RULES = ("ranked", "revised", "confident", "oracle")


@dataclass(slots=True)
class Candidate:
    """A canvas of a told length: its tokens, None where undecided; ``logp``: of each token and the end, causally."""

    tokens: list[int | None]
    logp: NDArray[np.float32] | None = None

    @property
    def ids(self) -> list[int]:
        """The tokens of a candidate without a mask."""
        return [token for token in self.tokens if token is not None]


class Lengths:
    """Infills lines by lengths that a rule chooses, with an engine's cache.

    The rules: *ranked* decodes all lengths and takes the likeliest text, its log-likelihood divided by its number of
    tokens to the power of ``calibration``; *revised* then masks anew, once, what the causal pass finds less likely than
    ``doubtful``; *confident* decodes only the length whose empty canvas is predicted with the least entropy a token,
    which one pass over all tells; *oracle* is told the length.
    """

    def __init__(
        self, engine: LocalEngine, bound: float = 0.3, calibration: float = 0.0, doubtful: float = 0.1
    ) -> None:
        assert isinstance(engine.tokenizer, Tokenizer), "only our own models have canvases"
        self._tokenizer = engine.tokenizer
        self._enough, self._calibration, self._doubtful = bounded(bound), calibration, doubtful
        # Beside those that are never shown: what would end the line before the end that was told.
        ends = {self._tokenizer.specials.eot, *engine.tokenizer.newlines()}
        self._inner = sorted(ends)
        self._passes = engine.passes

    def prefill(self, prompt: Prompt) -> int:
        """As `LocalEngine.prefill`."""
        ids = encode_prompt(prompt, self._tokenizer)
        kept = self._passes.reuse(ids)
        self._passes.read(ids[kept:], never_cancelled)
        return len(ids) - kept

    def infill(self, prompt: Prompt, rule: str, length: int = 0) -> Infill:
        """As `LocalEngine.infill`, by one of `RULES`. length: tokens of the true middle, for the oracle."""
        began = time.perf_counter()
        ids = encode_prompt(prompt, self._tokenizer)
        cached = self._passes.reuse(ids[:-1])
        foretold = self._passes.scores(self._passes.read(ids[cached:], never_cancelled)).copy()  # (1, V)
        prefilled = time.perf_counter()
        lengths: Sequence[int] = range(1, SIZE)
        if rule == "oracle":
            lengths = [min(SIZE - 1, max(1, length))]
        candidates = [Candidate([None] * length) for length in lengths]
        passes = 0
        if rule == "confident":
            doubts = [float(entropy(scores).mean()) for scores in self._predict(candidates)]
            candidates = [candidates[doubts.index(min(doubts))]]
            passes += 1
        passes += self._denoise(candidates)
        if rule in ("ranked", "revised"):
            best = self._best(candidates, foretold)
            passes += 1
            if rule == "revised" and (again := self._masked_anew(best)):
                passes += self._denoise([again]) + 1
                best = self._best([best, again], foretold)
        else:
            best = candidates[0]
        done = time.perf_counter()
        logp = best.logp
        return Infill(
            text=self._tokenizer.decode(best.ids),
            tokens=len(best.ids) + 1,
            steps=passes,
            forward_passes=passes,
            ms=(done - began) * 1e3,
            ms_prefill=(prefilled - began) * 1e3,
            ms_denoise=(done - prefilled) * 1e3,
            cached_tokens=cached,
            prompt_tokens=len(ids),
            confidence=0.0 if logp is None else math.exp(float(logp.mean())),
            finished=True,
        )

    def _predict(self, candidates: Sequence[Candidate]) -> list[NDArray[np.float32]]:
        """One pass: log-probabilities (n, V) of the undecided positions of each candidate."""
        special, kept = self._tokenizer.specials, self._passes.ids
        first, ids, blocks = len(kept), list[int](), []
        for number, candidate in enumerate(candidates, 1):
            tokens = [special.mask if token is None else token for token in candidate.tokens]
            ids += [kept[-1], *tokens, *[special.eot] * (SIZE - len(tokens))]
            blocks.append(TokenLayout.block(first, SIZE, number))
        hidden = self._passes.run(ids, TokenLayout.join(*blocks))
        made, at = [], 0
        for candidate, rows in zip(candidates, blocks, strict=True):
            wanted = [at + i for i, token in enumerate(candidate.tokens) if token is None]
            scores = self._passes.scores(hidden[wanted]).copy()
            scores[:, self._inner] = -np.inf
            made.append(scores - np.log(np.exp(scores).sum(-1, keepdims=True)))
            at += len(rows.position)
        return made

    def _denoise(self, candidates: Sequence[Candidate]) -> int:
        """Decide all tokens of all candidates; how many passes that took."""
        passes = 0
        while left := [candidate for candidate in candidates if None in candidate.tokens]:
            passes += 1
            for candidate, scores in zip(left, self._predict(left), strict=True):
                undecided = [i for i, token in enumerate(candidate.tokens) if token is None]
                tokens = scores.argmax(-1).tolist()
                for j in positions_to_commit(
                    entropy(scores).tolist(), [False] * len(undecided), self._enough
                ):
                    candidate.tokens[undecided[j]] = tokens[j]
        return passes

    def _best(self, candidates: Sequence[Candidate], foretold: NDArray[np.float32]) -> Candidate:
        """The likeliest candidate, all of them scored in one causal pass. foretold: by the prompt's last row (1, V)."""
        first, eot = len(self._passes.ids), self._tokenizer.specials.eot
        branches = []
        for number, candidate in enumerate(candidates, 1):
            rows = TokenLayout.clean(first, len(candidate.tokens))
            branches.append(replace(rows, branch=rows.branch + number, fork=np.full_like(rows.fork, first)))
        ids = [token for candidate in candidates for token in candidate.ids]
        hidden = self._passes.run(ids, TokenLayout.join(*branches))
        at = 0
        for candidate in candidates:
            scores = self._passes.scores(hidden[at : at + len(candidate.ids)])
            scores = np.concatenate((foretold, scores))  # (L + 1, V)
            candidate.logp = scores[np.arange(len(scores)), [*candidate.ids, eot]]
            at += len(candidate.ids)
        return max(candidates, key=self._worth)

    def _worth(self, candidate: Candidate) -> float:
        assert candidate.logp is not None
        return float(candidate.logp.sum()) / math.pow(len(candidate.logp), self._calibration)

    def _masked_anew(self, best: Candidate) -> Candidate | None:
        """The candidate with its doubtful tokens masked; None where all or none of them are."""
        assert best.logp is not None
        likely = np.exp(best.logp[:-1]) >= self._doubtful
        if bool(likely.all()) or not bool(likely.any()):
            return None
        return Candidate(
            [token if kept else None for token, kept in zip(best.tokens, likely.tolist(), strict=True)]
        )
