"""Encodes a prompt for an open model: the text around a canvas, or a fill-in-the-middle prompt.

Special tokens are inserted by their ids, so that no text can become one.
"""

from __future__ import annotations

from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.tokenizer import Prompt

# If the text does not fit, the suffix gets one of this many equal parts.
SUFFIX_SHARE = 4


def canvas_context(prompt: Prompt, loaded: OpenCheckpoint, max_tokens: int) -> tuple[list[int], list[int]]:
    """Return the tokens before and after a canvas, for bidirectional models.

    They are ``[start] related, prefix`` and ``rest, following [end]``, together at most ``max_tokens`` tokens. At least
    one token is before the canvas.
    """
    family, added = loaded.family, loaded.tokenizer.added
    head = [added[family.start]] if family.start in added else []
    tail = [loaded.end_token] if family.closed else []
    before, after = _fitting_context(prompt, loaded, max_tokens - len(head) - len(tail) - 1)
    related = _related_files(prompt, loaded, max_tokens - len(head) - len(tail) - len(before) - len(after))
    head = head + related + before
    return head or [loaded.end_token], after + tail


def fim_prompt(prompt: Prompt, loaded: OpenCheckpoint, max_tokens: int) -> list[int]:
    """Return the tokens, at most ``max_tokens``, after which a left-to-right model writes the middle.

    They are ``start``, ``related``, then prefix and suffix in the base model's order. With related files, the path of
    the current file precedes the first of these, as for Qwen2.5-Coder.
    """
    fim = loaded.fim
    assert fim is not None, "only a model that reads from left to right has this prompt"
    added = loaded.tokenizer.added
    head = [] if loaded.start is None else [loaded.start]
    max_tokens -= len(head) + 3
    before, after = _fitting_context(prompt, loaded, max_tokens)
    related = _related_files(prompt, loaded, max_tokens - len(before) - len(after))
    prefix, suffix = [added[fim.prefix], *before], [added[fim.suffix], *after]
    parts = suffix + prefix if fim.suffix_first else prefix + suffix
    return [*head, *related, *parts, added[fim.middle]]


def _fitting_context(prompt: Prompt, loaded: OpenCheckpoint, max_tokens: int) -> tuple[list[int], list[int]]:
    """Encode prefix and suffix, and cut their far ends if they have more than ``max_tokens`` tokens together."""
    encode = loaded.tokenizer.encode
    before, after = encode(prompt.prefix), encode(prompt.rest + prompt.following)
    after = after[: max(max_tokens // SUFFIX_SHARE, max_tokens - len(before))]
    return before[max(0, len(before) + len(after) - max_tokens) :], after


def _related_files(prompt: Prompt, loaded: OpenCheckpoint, max_tokens: int) -> list[int]:
    """Encode the related files and the path of the current file, each after the token that separates files.

    Empty if the model has no such token, if no file is related, or if the tokens do not fit into ``max_tokens``.
    """
    separator = loaded.tokenizer.added.get(loaded.family.file_sep)
    if separator is None or not prompt.related:
        return []
    texts = [f"{snippet.path}\n{snippet.text}" for snippet in prompt.related]
    ids: list[int] = []
    for text in [*(text if text.endswith("\n") else f"{text}\n" for text in texts), f"{prompt.path}\n"]:
        ids += [separator, *loaded.tokenizer.encode(text)]
    return ids if len(ids) <= max_tokens else []
