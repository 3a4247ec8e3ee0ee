"""Computes the exact log-likelihood of given texts as the middle of a prompt, by the model's causal rows."""

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
    """Return the log-likelihood in nats of each text and its stop token, as the middle of a prompt.

    Each text is scored after the prompt's stem. The prompt and the common prefix of all texts are read once. Raises
    `Cancelled`.
    """
    model, ids = engine.cached_model, engine.layout.encode(prompt)
    model.extend(ids[model.reuse(ids[:-1]) : -1], cancelled)
    end = min(engine.layout.stop_tokens)
    all_tokens = [[*engine.tokenizer.encode(prompt.stem + text), end] for text in texts]
    common_count = len(commonprefix(all_tokens))
    shared_count, shared_nats = 0, 0.0
    found: list[float] = []
    for tokens in all_tokens:
        if cancelled():
            raise Cancelled
        rows = [tokens[shared_count - 1] if shared_count else ids[-1], *tokens[shared_count:-1]]
        scores = model.scores(model.run(rows, TokenLayout.clean(len(model.ids), len(rows))))
        nats = [float(scores[number, token]) for number, token in enumerate(tokens[shared_count:])]
        found.append(shared_nats + sum(nats))
        if len(found) == 1 and common_count:
            # The last common token is run again with each other text, because its row predicts the next token.
            model.keep(rows[:common_count])
            shared_count, shared_nats = common_count, sum(nats[:common_count])
    return found
