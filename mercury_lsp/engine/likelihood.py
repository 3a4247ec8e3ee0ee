"""Computes the exact log-likelihood of given texts at a place, by the model's causal rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING

from mercury_lsp.engine.api import never_cancelled
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.worker import Cancelled

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

    The prompt, and what all texts begin with, is read once. Raises `Cancelled`.
    """
    passes, ids = engine.passes, engine.layout.encode(prompt)
    passes.read(ids[passes.reuse(ids[:-1]) : -1], cancelled)
    end = min(engine.layout.ends)
    all_tokens = [[*engine.tokenizer.encode(prompt.stem + text), end] for text in texts]
    common = len(commonprefix(all_tokens))
    at, shared = 0, 0.0
    made: list[float] = []
    for tokens in all_tokens:
        if cancelled():
            raise Cancelled
        rows = [tokens[at - 1] if at else ids[-1], *tokens[at:-1]]
        scores = passes.scores(passes.run(rows, TokenLayout.clean(len(passes.ids), len(rows))))
        nats = [float(scores[number, token]) for number, token in enumerate(tokens[at:])]
        made.append(shared + sum(nats))
        if len(made) == 1 and common:
            # The last of the common tokens is read again, before the rest of each other text.
            passes.keep(rows[:common])
            at, shared = common, sum(nats[:common])
    return made
