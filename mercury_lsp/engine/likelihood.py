"""Computes the exact log-likelihood of given texts at a place, by the model's causal rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mercury_lsp.engine.api import never_cancelled
from mercury_lsp.engine.backends.attention import TokenLayout

if TYPE_CHECKING:
    from mercury_lsp.engine.local_engine import LocalEngine
    from mercury_lsp.engine.tokenizer import Prompt


def log_likelihoods(
    engine: LocalEngine,
    prompt: Prompt,
    texts: Sequence[str],
    cancelled: Callable[[], bool] = never_cancelled,
) -> list[float]:
    """Nats of each text, and of its end, as the middle of a prompt; the stem of the prompt is the start of each.

    The prompt is read once. Raises `Cancelled`.
    """
    passes, ids = engine.passes, engine.layout.encode(prompt)
    passes.read(ids[passes.reuse(ids[:-1]) : -1], cancelled)
    sums = []
    for text in texts:
        tokens = [*engine.tokenizer.encode(prompt.stem + text), min(engine.layout.ends)]
        rows = [ids[-1], *tokens[:-1]]
        scores = passes.scores(passes.run(rows, TokenLayout.clean(len(passes.ids), len(rows))))
        sums.append(sum(float(scores[number, token]) for number, token in enumerate(tokens)))
    return sums
