"""Infills lines with a length that is chosen before denoising, by one of four rules; the server lets the model end.

The canvas has a fixed length: an ``<eot>`` follows the masks from the first pass on. Candidate lengths are decoded as
one batch, each as a canvas after the same KV cache; no canvas sees another. Then one causal pass, in which each
candidate is a branch of the prompt, computes the exact likelihood of each candidate with its stop token. This is an
experiment, whose results are in the model card; the server does not use it.
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

# The size of the canvas including the stop token, so lengths are 1 to 15.
SIZE = 16
RULES = ("ranked", "revised", "confident", "oracle")


@dataclass(slots=True)
class Candidate:
    """A canvas of a fixed length.

    ``tokens``: None for a mask. ``logp``: the log-probabilities of the tokens and the stop token by the causal pass.
    """

    tokens: list[int | None]
    logp: NDArray[np.float32] | None = None

    @property
    def ids(self) -> list[int]:
        """The decided tokens."""
        return [token for token in self.tokens if token is not None]


class Lengths:
    """Infills lines with a length that a rule chooses, with an engine's KV cache.

    The rules: *ranked* decodes all lengths and takes the likeliest text, by its log-likelihood divided by its number of
    tokens to the power of ``calibration``. *revised* then masks, once, the tokens that the causal pass finds less
    likely than ``doubtful``, and denoises again. *confident* decodes only the length whose masked canvas has the least
    mean entropy, which takes one pass over all lengths. *oracle* gets the true length.
    """

    def __init__(
        self, engine: LocalEngine, bound: float = 0.3, calibration: float = 0.0, doubtful: float = 0.1
    ) -> None:
        assert isinstance(engine.tokenizer, Tokenizer), "only our own models have canvases"
        self._tokenizer = engine.tokenizer
        self._enough, self._calibration, self._doubtful = bounded(bound), calibration, doubtful
        # Tokens that would end the line before the chosen end.
        ends = {self._tokenizer.specials.eot, *engine.tokenizer.newlines()}
        self._inner = sorted(ends)
        self._passes = engine.cached_model

    def prefill(self, prompt: Prompt) -> int:
        """Read a prompt into the KV cache, as `LocalEngine.prefill`; return the number of tokens read."""
        ids = encode_prompt(prompt, self._tokenizer)
        kept = self._passes.reuse(ids)
        self._passes.extend(ids[kept:], never_cancelled)
        return len(ids) - kept

    def infill(self, prompt: Prompt, rule: str, length: int = 0) -> Infill:
        """Infill as `LocalEngine.infill`, by one of `RULES`. length: the tokens of the true middle, for the oracle."""
        began = time.perf_counter()
        ids = encode_prompt(prompt, self._tokenizer)
        cached = self._passes.reuse(ids[:-1])
        first_scores = self._passes.scores(
            self._passes.extend(ids[cached:], never_cancelled)
        ).copy()  # (1, V)
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
            best = self._best(candidates, first_scores)
            passes += 1
            if rule == "revised" and (again := self._mask_doubtful(best)):
                passes += self._denoise([again]) + 1
                best = self._best([best, again], first_scores)
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
        """Compute, in one pass, the log-probabilities (n, V) of the masked positions of each candidate."""
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
        """Decide all tokens of all candidates; return the number of passes."""
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

    def _best(self, candidates: Sequence[Candidate], first_scores: NDArray[np.float32]) -> Candidate:
        """Score all candidates in one causal pass; return the likeliest.

        first_scores: (1, V), of the prompt's last row.
        """
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
            scores = np.concatenate((first_scores, scores))  # (L + 1, V)
            candidate.logp = scores[np.arange(len(scores)), [*candidate.ids, eot]]
            at += len(candidate.ids)
        return max(candidates, key=self._score)

    def _score(self, candidate: Candidate) -> float:
        assert candidate.logp is not None
        return float(candidate.logp.sum()) / math.pow(len(candidate.logp), self._calibration)

    def _mask_doubtful(self, best: Candidate) -> Candidate | None:
        """Return the candidate with its doubtful tokens masked; None if all or none of its tokens are doubtful."""
        assert best.logp is not None
        likely = np.exp(best.logp[:-1]) >= self._doubtful
        if bool(likely.all()) or not bool(likely.any()):
            return None
        return Candidate(
            [token if kept else None for token, kept in zip(best.tokens, likely.tolist(), strict=True)]
        )
