"""Represents groups of holes as token ids: a common trunk, and a branch for each hole.

The order of the tokens is that of `tokenizer.encode_prompt`; the holes come from `spans`. This module must not import a
parser, since training from shards needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mercury_lsp.engine.tokenizer import Tokenizer, encode_prompt

if TYPE_CHECKING:
    from model.data.spans import Hole

Ids = npt.NDArray[np.unsignedinteger[Any]]
"""Token ids (T,), with 16 bits each if all fit, else with 32 bits."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One hole: ``tail``, the prompt after the trunk, at least ``<fim_middle>``; ``middle``, including ``<eot>``."""

    kind: str
    tail: Ids
    middle: Ids


@dataclass(frozen=True, slots=True)
class Group:
    """The common start of some prompts, including at least ``<fim_prefix>``, and the branches of the prompts."""

    language: str
    trunk: Ids
    branches: tuple[Branch, ...]


def encode_group(holes: Sequence[Hole], tokenizer: Tokenizer, language: str = "") -> Group | None:
    """Encode a group of holes; return None if there is no hole, or if the prompts share too little.

    A prompt whose window begins at another place than the first prompt's shares almost nothing, and is left out.
    """
    if not holes:
        return None
    prompts = [list(encode_prompt(hole.prompt, tokenizer)) for hole in holes]
    kept = [i for i, ids in enumerate(prompts) if len(commonprefix([prompts[0], ids])) > len(prompts[0]) // 2]
    trunk = list(commonprefix([prompts[i] for i in kept]))
    if any(len(prompts[i]) == len(trunk) for i in kept):
        # A branch contains at least <fim_middle>, the anchor of the middle.
        trunk.pop()
    if tokenizer.specials.fim_prefix not in trunk:
        return None
    branches = []
    for i in kept:
        middle = [*tokenizer.encode(holes[i].middle), tokenizer.specials.eot]
        branches.append(Branch(holes[i].kind, to_ids(prompts[i][len(trunk) :]), to_ids(middle)))
    return Group(language, to_ids(trunk), tuple(branches))


def to_ids(values: list[int]) -> Ids:
    """Convert ids to 16 bits if all fit, else to 32 bits."""
    return np.array(values, dtype=np.uint16 if max(values, default=0) < 1 << 16 else np.uint32)
