"""Measures a network's autoregressive loss on held-out holes: the nats of each middle and its stop token.

The holes are cut by one fixed recipe from packages that no training saw, and are healed as in serving. So the first
tokens of a middle include the stem, and the text is counted in the model's own tokens or in characters. Prompts are
laid out and packed as in training; only causal rows are measured.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from mercury_lsp.config import Config
from mercury_lsp.context.retrieval.ranking import DEFAULT_RELATED
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.tokenizer import Tokenizer
from model import RECIPES
from model.data.step_data import Cuts, Steps
from model.evaluation.bootstrap import interval, ratio
from model.training.batch import Batch
from model.training.hardware import fastest_dtype
from model.training.layout import NO_TARGET
from model.training.objective import hidden_states, products
from model.training.recipe import Recipe

# The mix of languages and holes is that of this recipe.
RECIPE = RECIPES / "small-cpu.toml"
CONTEXTS = 96
PART = 6
# Rows of one context: enough for any prompt with its holes.
ROWS = 2048


@dataclass(frozen=True, slots=True)
class HoleLoss:
    """The loss of one hole's middle and its stop token: nats in total, and the counts of tokens and characters.

    context: the number of the hole's context; the holes of a context end on the same line.
    """

    context: int
    nats: float
    tokens: int
    characters: int


def batches(tokenizer: Tokenizer, contexts: int = 0, corpus: Path | None = None) -> list[Batch]:
    """Return packed contexts of held-out files, the same ones at each call.

    contexts: how many; 0 takes `CONTEXTS`. Prompts have the server's default size, and related text comes from one to
    five open files.
    """
    served = Config()
    recipe = replace(
        Recipe.read(RECIPE),
        rows=ROWS,
        prefix_tokens=(served.prefix_tokens,) * 2,
        following_tokens=(served.following_tokens,) * 2,
        path_share=1.0,
        related_share=1.0,
        related_tokens=(DEFAULT_RELATED.tokens,) * 2,
        other_sources=0.0,
        packed=True,
        causal=1.0,
        steps=-(-(contexts or CONTEXTS) // PART),
        contexts=PART,
        seed=0,
    )
    steps = Steps(recipe, tokenizer, Cuts(recipe, tokenizer, corpus, "heldout"))
    return [part for step in range(len(steps)) for part in steps[step]]


@torch.no_grad()
def hole_losses(
    network: Network, tokenizer: Tokenizer, given: Iterable[Batch], dtype: torch.dtype | None = None
) -> list[HoleLoss]:
    """Return a network's loss on each hole of the batches, in order.

    given: packed batches on the CPU. dtype: the number format of matrix products; by default the device's fastest.
    """
    device = next(network.parameters()).device
    dtype = dtype or fastest_dtype(device)
    made = []
    contexts = 0
    for batch in given:
        ends = list(accumulate(batch.lengths, initial=0))
        with products(device, dtype):
            hidden = hidden_states(network, batch.to(device), dtype)[0]
            for rows in _middles(batch, tokenizer.specials.fim_middle):
                target = batch.target[0, rows]
                logits = network.logits(hidden[rows.to(device)]).float()
                nats = F.cross_entropy(logits, target.to(device), reduction="sum")
                text = tokenizer.decode(target.tolist())
                number = contexts + bisect_right(ends, int(rows[0]))
                made.append(HoleLoss(number, float(nats), len(target), len(text)))
        contexts += len(batch.lengths)
    return made


def _middles(batch: Batch, fim_middle: int) -> list[torch.Tensor]:
    """Return the rows that predict each hole's middle: from ``<fim_middle>`` to the row that predicts ``<eot>``."""
    found = []
    starts = torch.nonzero(batch.ids[0] == fim_middle).flatten().tolist()
    target, branch = batch.target[0], batch.rows.branch[0]
    for start in starts:
        end = start
        while target[end] != NO_TARGET and branch[end] == branch[start]:
            end += 1
        found.append(torch.arange(start, end))
    return found


def report(own: Sequence[HoleLoss], against: Sequence[HoleLoss] | None = None) -> dict[str, Any]:
    """Return nats per token and per character, and the 95% interval over contexts of the former.

    against: another model's losses on the same holes; adds the paired difference and its interval.
    """
    tokens = _sums(own, [(cost.nats, cost.tokens) for cost in own])
    characters = _sums(own, [(cost.nats, cost.characters) for cost in own])
    made: dict[str, Any] = {
        "holes": len(own),
        "contexts": len(tokens),
        "tokens": sum(cost.tokens for cost in own),
        "nats": round(ratio(tokens), 4),
        "interval": interval(tokens, ratio),
        "nats_per_character": round(ratio(characters), 4),
    }
    if against is not None:
        pairs = _sums(own, [(a.nats - b.nats, a.tokens) for a, b in zip(own, against, strict=True)])
        made |= {"difference": round(ratio(pairs), 4), "difference_interval": interval(pairs, ratio)}
    return made


def _sums(own: Sequence[HoleLoss], pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Sum the pairs of the holes of each context."""
    sums: dict[int, tuple[float, float]] = {}
    for cost, (nats, count) in zip(own, pairs, strict=True):
        before = sums.get(cost.context, (0.0, 0.0))
        sums[cost.context] = (before[0] + nats, before[1] + count)
    return list(sums.values())
