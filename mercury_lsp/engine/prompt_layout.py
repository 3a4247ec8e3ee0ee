"""Lays out a prompt for models that write the middle from left to right: our own ones, and open infilling models."""

from __future__ import annotations

from collections.abc import Sequence

from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.open_models.prompt_format import fim_prompt
from mercury_lsp.engine.tokenizer import Prompt, encode_prompt

# Tokens of the longest sequence that are left for the middle, or half of it if that is less.
MIDDLE_TOKENS = 1024


class OwnLayout:
    """The layout of our own checkpoints, see `tokenizer.encode_prompt`.

    ``ends``: ids of the stop tokens. ``mask``: the id of the mask, None without canvases.
    """

    def __init__(self, loaded: Checkpoint) -> None:
        self._tokenizer = loaded.tokenizer
        self.ends = frozenset([loaded.tokenizer.specials.eot])
        self.mask: int | None = loaded.tokenizer.specials.mask

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Ids of all that the model reads before the middle; the stem is not part of them."""
        return encode_prompt(prompt, self._tokenizer)

    def prefix(self, ids: Sequence[int]) -> Sequence[int]:
        """The tokens right before the cursor, of ids of `encode`."""
        special = self._tokenizer.specials
        return ids[ids.index(special.fim_prefix) + 1 : ids.index(special.fim_rest)]


class FimLayout:
    """The layout of an autoregressive infilling model, see `prompt_format.fim_prompt`."""

    mask = None

    def __init__(self, loaded: OpenCheckpoint) -> None:
        assert loaded.fim is not None, "an autoregressive model is loaded only with tokens for infilling"
        self._loaded, self.ends = loaded, loaded.ends
        positions = loaded.shape.positions
        self._room = positions - min(MIDDLE_TOKENS, positions // 2)
        added, fim = loaded.tokenizer.added, loaded.fim
        self._first, self._last = added[fim.prefix], added[fim.middle if fim.suffix_first else fim.suffix]

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """See `OwnLayout.encode`."""
        return tuple(fim_prompt(prompt, self._loaded, self._room))

    def prefix(self, ids: Sequence[int]) -> Sequence[int]:
        """See `OwnLayout.prefix`."""
        first = ids.index(self._first) + 1
        return ids[first : ids.index(self._last, first)]


def layout_of(loaded: Checkpoint | OpenCheckpoint) -> OwnLayout | FimLayout:
    """The layout for a checkpoint that writes from left to right."""
    return OwnLayout(loaded) if isinstance(loaded, Checkpoint) else FimLayout(loaded)
