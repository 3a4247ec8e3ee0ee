"""How an open model is shown a prompt: as the text around a canvas, or as a question for a middle.

Owns the order of the parts, and what is left out where a model's sequences are too short for all of it. Knows no
passes. Special tokens are put in by their ids, so that no text can write them.
"""

from __future__ import annotations

from mercury_lsp.engine.checkpoints.huggingface import OpenCheckpoint
from mercury_lsp.engine.tokenizer import Prompt

SUFFIX_SHARE = 4  # where not all fits, one part of so many is for what follows


def around(prompt: Prompt, loaded: OpenCheckpoint, room: int) -> tuple[list[int], list[int]]:
    """The tokens before and behind a canvas, both together at most ``room``; one before it at least.

    ``[start] related, prefix`` and ``rest, following [end]``, for models that see both ways.
    """
    family, added = loaded.family, loaded.tokenizer.added
    head = [added[family.start]] if family.start in added else []
    tail = [loaded.end] if family.closed else []
    before, after = _cut(prompt, loaded, room - len(head) - len(tail) - 1)
    beside = _beside(prompt, loaded, room - len(head) - len(tail) - len(before) - len(after))
    head = head + beside + before
    return head or [loaded.end], after + tail


def asked(prompt: Prompt, loaded: OpenCheckpoint, room: int) -> list[int]:
    """The tokens, at most ``room``, behind which a model that reads from left to right writes the middle.

    ``related`` and then prefix and suffix as the base model has learnt to be asked: where a file is one of several,
    Qwen2.5-Coder has its path before the prefix's token.
    """
    fim = loaded.fim
    assert fim is not None, "only a block-causal model is asked so"
    added = loaded.tokenizer.added
    before, after = _cut(prompt, loaded, room - 3)
    beside = _beside(prompt, loaded, room - 3 - len(before) - len(after))
    prefix, suffix = [added[fim.prefix], *before], [added[fim.suffix], *after]
    parts = suffix + prefix if fim.suffix_first else prefix + suffix
    return [*beside, *parts, added[fim.middle]]


def _cut(prompt: Prompt, loaded: OpenCheckpoint, room: int) -> tuple[list[int], list[int]]:
    """Prefix and suffix, each without its far end where both together are more than ``room``."""
    encode = loaded.tokenizer.encode
    before, after = encode(prompt.prefix), encode(prompt.rest + prompt.following)
    after = after[: max(room // SUFFIX_SHARE, room - len(before))]
    return before[max(0, len(before) + len(after) - room) :], after


def _beside(prompt: Prompt, loaded: OpenCheckpoint, room: int) -> list[int]:
    """Other files, each behind the token that separates files, and the path of this one; nothing where the model has
    no such token or there is no room for it."""
    separator = loaded.tokenizer.added.get(loaded.family.file_sep)
    if separator is None or not prompt.related:
        return []
    texts = [f"{snippet.path}\n{snippet.text}" for snippet in prompt.related]
    ids: list[int] = []
    for text in [*(text if text.endswith("\n") else f"{text}\n" for text in texts), f"{prompt.path}\n"]:
        ids += [separator, *loaded.tokenizer.encode(text)]
    return ids if len(ids) <= room else []
