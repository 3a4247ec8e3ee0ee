"""Measures what the tokens of held-out holes cost a network: nats of each middle with its end, left to right.

The holes are cut from packages that no training saw, by one fixed recipe, healed as in serving: the first tokens of a
middle include the stem that the user has typed already, so all text is counted by a model's own tokens or characters.
Prompts are laid out and packed as in training; only the causal rows are asked.
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
from mercury_lsp.context.retrieval.ranking import USUAL
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

RECIPE = RECIPES / "small-cpu.toml"  # whose mix of languages and holes is used
CONTEXTS = 96
PART = 6
ROWS = 2048  # of one context: enough for any prompt with its holes


@dataclass(frozen=True, slots=True)
class Cost:
    """What one hole's middle and its end cost together, in nats, and how many tokens and characters these are.

    context: the number of the hole's context; the holes of one end on the same line.
    """

    context: int
    nats: float
    tokens: int
    characters: int


def batches(tokenizer: Tokenizer, contexts: int = 0, corpus: Path | None = None) -> list[Batch]:
    """The same packed contexts of held-out files each time, `CONTEXTS` by default, with some holes each.

    Prompts are as large as the server's by default, and related text comes from one to five open files.
    """
    served = Config()
    recipe = replace(
        Recipe.read(RECIPE),
        rows=ROWS,
        prefix_tokens=(served.prefix_tokens,) * 2,
        following_tokens=(served.following_tokens,) * 2,
        path_share=1.0,
        related_share=1.0,
        related_tokens=(USUAL.tokens,) * 2,
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
def costs(
    network: Network, tokenizer: Tokenizer, given: Iterable[Batch], dtype: torch.dtype | None = None
) -> list[Cost]:
    """What each hole of the batches costs a network, in their order.

    given: packed batches on the CPU. dtype: of products, the device's fastest by default.
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
                made.append(Cost(number, float(nats), len(target), len(text)))
        contexts += len(batch.lengths)
    return made


def _middles(batch: Batch, fim_middle: int) -> list[torch.Tensor]:
    """The rows of each hole that predict its middle: from ``<fim_middle>`` to the one that predicts ``<eot>``."""
    found = []
    starts = torch.nonzero(batch.ids[0] == fim_middle).flatten().tolist()
    target, branch = batch.target[0], batch.rows.branch[0]
    for start in starts:
        end = start
        while target[end] != NO_TARGET and branch[end] == branch[start]:
            end += 1
        found.append(torch.arange(start, end))
    return found


def report(own: Sequence[Cost], against: Sequence[Cost] | None = None) -> dict[str, Any]:
    """Nats a token and a character with 95% intervals over contexts, and the difference to another model's, paired."""
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


def _sums(own: Sequence[Cost], pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The sums of the pairs of each context's holes."""
    sums: dict[int, tuple[float, float]] = {}
    for cost, (nats, count) in zip(own, pairs, strict=True):
        before = sums.get(cost.context, (0.0, 0.0))
        sums[cost.context] = (before[0] + nats, before[1] + count)
    return list(sums.values())
