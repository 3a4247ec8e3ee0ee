"""Lays out a prompt as tokens for models that decode from left to right: our own, and open autoregressive models."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.open_models.prompt_format import fim_prompt
from mercury_lsp.engine.tokenizer import Prompt, encode_prompt

# Positions that are reserved for the middle, but at most half of all positions.
MIDDLE_TOKENS = 1024


class OwnLayout:
    """The layout of our own checkpoints, see `tokenizer.encode_prompt`.

    ``stop_tokens``: ids of the stop tokens. ``mask``: the id of the mask; None for models without canvases.
    """

    def __init__(self, loaded: Checkpoint) -> None:
        self._tokenizer = loaded.tokenizer
        self.stop_tokens = frozenset([loaded.tokenizer.specials.eot])
        self.mask: int | None = loaded.tokenizer.specials.mask

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the ids of all tokens that the model reads before the middle; the stem is not part of them."""
        return encode_prompt(prompt, self._tokenizer)

    def prefix(self, ids: Sequence[int]) -> Sequence[int]:
        """Return the part of an encoded prompt that holds the text right before the stem."""
        special = self._tokenizer.specials
        return ids[ids.index(special.fim_prefix) + 1 : ids.index(special.fim_rest)]


class FimLayout:
    """The layout of an autoregressive infilling model, see `prompt_format.fim_prompt`."""

    mask = None

    def __init__(self, loaded: OpenCheckpoint) -> None:
        assert loaded.fim is not None, "an autoregressive model is loaded only with tokens for infilling"
        self._loaded, self.stop_tokens = loaded, loaded.stop_tokens
        positions = loaded.shape.positions
        self._max_prompt_tokens = positions - min(MIDDLE_TOKENS, positions // 2)
        added, fim = loaded.tokenizer.added, loaded.fim
        self._first, self._last = added[fim.prefix], added[fim.middle if fim.suffix_first else fim.suffix]

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """See `OwnLayout.encode`."""
        return tuple(fim_prompt(prompt, self._loaded, self._max_prompt_tokens))

    def prefix(self, ids: Sequence[int]) -> Sequence[int]:
        """See `OwnLayout.prefix`."""
        first = ids.index(self._first) + 1
        return ids[first : ids.index(self._last, first)]


class TaggedLayout:
    """The layout of a prompt whose text contains an open model's special tokens by name.

    Only the prefix of a prompt is read. ``names``: the names of the special tokens; the caller must ensure that no
    other part of the prompt contains them. ``positions``: the longest sequence.
    """

    mask = None

    def __init__(self, loaded: OpenCheckpoint, names: Sequence[str]) -> None:
        self._loaded, self._ids = loaded, {name: loaded.tokenizer.added[name] for name in names}
        self._cut = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
        self.stop_tokens, self.positions = loaded.stop_tokens, loaded.shape.positions

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """See `FimLayout.encode`."""
        loaded = self._loaded
        ids = [] if loaded.start is None else [loaded.start]
        for part in [prompt.prefix] if self._cut is None else self._cut.split(prompt.prefix):
            ids += [self._ids[part]] if part in self._ids else loaded.tokenizer.encode(part)
        return tuple(ids)

    def prefix(self, ids: Sequence[int]) -> Sequence[int]:
        """See `FimLayout.prefix`."""
        return ids


PromptLayout = OwnLayout | FimLayout | TaggedLayout
"""The ways to lay out a prompt as tokens."""


def layout_of(loaded: Checkpoint | OpenCheckpoint) -> PromptLayout:
    """Return the layout for a checkpoint that decodes from left to right."""
    return OwnLayout(loaded) if isinstance(loaded, Checkpoint) else FimLayout(loaded)
