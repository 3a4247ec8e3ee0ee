"""Holds groups of holes as token ids: what training keeps of a file.

Owns the splitting of a group's prompts into their common trunk and each one's branch. The layout of tokens is
`tokenizer.encode_prompt`'s, the holes are `spans`'. Knows no noise and no rows, and imports no parser.
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
"""Token ids (T,), in 16 bits where they all fit, else in 32."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One hole: the end of its prompt, which only it has, at least ``<fim_middle>``; its middle with ``<eot>``."""

    kind: str
    tail: Ids
    middle: Ids


@dataclass(frozen=True, slots=True)
class Group:
    """The common start of some prompts, up to somewhere behind ``<fim_prefix>``, and their branches."""

    language: str
    trunk: Ids
    branches: tuple[Branch, ...]


def encode_group(holes: Sequence[Hole], tokenizer: Tokenizer, language: str = "") -> Group | None:
    """The tokens of a group of holes; None where there is no hole, or nothing worth sharing.

    A prompt whose window begins elsewhere than the first one's shares next to nothing, and is left out.
    """
    if not holes:
        return None
    prompts = [list(encode_prompt(hole.prompt, tokenizer)) for hole in holes]
    kept = [i for i, ids in enumerate(prompts) if len(commonprefix([prompts[0], ids])) > len(prompts[0]) // 2]
    trunk = list(commonprefix([prompts[i] for i in kept]))
    if any(len(prompts[i]) == len(trunk) for i in kept):
        trunk.pop()  # a branch holds at least <fim_middle>, the middle's anchor
    if tokenizer.specials.fim_prefix not in trunk:
        return None
    branches = []
    for i in kept:
        middle = [*tokenizer.encode(holes[i].middle), tokenizer.specials.eot]
        branches.append(Branch(holes[i].kind, to_ids(prompts[i][len(trunk) :]), to_ids(middle)))
    return Group(language, to_ids(trunk), tuple(branches))


def to_ids(values: list[int]) -> Ids:
    """Ids in the smaller of the two sizes that holds them."""
    return np.array(values, dtype=np.uint16 if max(values, default=0) < 1 << 16 else np.uint32)
