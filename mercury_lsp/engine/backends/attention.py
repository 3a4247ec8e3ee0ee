"""Defines the rows of a pass and the one attention rule of training and serving.

The rule uses operators that numpy arrays and torch tensors share: serving passes arrays, training tensors.

A *clean* row holds a known token and sees the clean rows up to itself: it is causal. A *canvas* is an anchor (a copy
of the token before a block) and the block's rows, masked or not; each sees the clean rows before the block and its
whole canvas both ways. Row i predicts token i+1, as in an autoregressive model, so the anchor predicts the block's
first token. Training may hang several *branches* (a rest of the line, a middle) on one clean trunk: a branch sees
the trunk up to where it forks off. After BD3-LM (Arriola et al. 2025) and the shifted block diffusion of Fast-dLLM v2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

# The canvas of a key that is absent, and of rows that pad a pass: no session has so many canvases.
ABSENT_CANVAS, PADDING_CANVAS = -1, 1 << 20


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """The place of each row, as integer arrays or tensors of one shape (..., T).

    ``position``: of the token. ``start``: the first position of the clean tokens that the row does not see. ``canvas``:
    0 for clean rows, else the canvas's number. ``branch``: 0 on the trunk, else the branch's number. ``fork``: the
    number of trunk tokens that a branch sees.
    """

    position: Any
    start: Any
    canvas: Any
    branch: Any
    fork: Any

    @classmethod
    def clean(cls, first: int, count: int) -> TokenLayout:
        """Rows of ``count`` known tokens from position ``first`` on, on the trunk. int64 arrays (count,)"""
        position = np.arange(first, first + count)
        zero, start = np.zeros_like(position), position + 1
        return cls(position, start, zero, zero, start)

    @classmethod
    def block(cls, first: int, size: int, number: int = 1) -> TokenLayout:
        """Rows of one canvas on the trunk: the anchor at ``first - 1`` and ``size`` tokens from ``first`` on.

        int64 arrays (size + 1,)
        """
        position = np.arange(first - 1, first + size)
        start = np.full_like(position, first)
        return cls(position, start, np.full_like(position, number), np.zeros_like(position), start)

    @classmethod
    def join(cls, *parts: TokenLayout) -> TokenLayout:
        """The rows of several layouts, one after the other along the last dimension."""
        return cls(
            *(np.concatenate([getattr(part, field.name) for part in parts], -1) for field in fields(cls))
        )

    def map(self, change: Callable[[Any], Any]) -> TokenLayout:
        """The same rows with ``change`` applied to each field."""
        return TokenLayout(*(change(getattr(self, field.name)) for field in fields(self)))


def attention_mask(query: TokenLayout, key: TokenLayout) -> Any:
    """Which keys each query sees. (..., Tq) and (..., Tk) -> bool (..., Tq, Tk)."""
    return attends(query.map(lambda row: row[..., None]), key.map(lambda row: row[..., None, :]))


def attends(q: TokenLayout, k: TokenLayout) -> Any:
    """The attention rule, for queries and keys of one shape, or of shapes that broadcast."""
    lineage = (k.branch == q.branch) | ((k.branch == 0) & (k.position < q.fork))
    context = (k.canvas == 0) & lineage & (k.position < q.start)
    together = (k.canvas > 0) & (k.canvas == q.canvas)
    return context | together


def all_see_all(rows: TokenLayout) -> bool:
    """Whether rows (T,) right after the kept ones need no mask, because all see these and one another.

    This holds for one clean row, and for one canvas.
    """
    if len(rows.position) == 1:
        return True
    first = rows.canvas[0]
    return bool(first > 0) and bool((rows.canvas == first).all())
