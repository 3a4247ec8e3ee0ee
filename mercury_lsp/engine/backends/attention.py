"""Defines the rows of a pass, and the attention rule that training and serving share.

The rule uses only operators that NumPy arrays and PyTorch tensors share: serving passes arrays, training tensors.

A *clean* row holds a known token and sees the clean rows up to itself: it is causal. A *canvas* is an anchor (a copy
of the token before a block) and the block's rows, masked or not; each sees the clean rows before the block and its
whole canvas in both directions. Row i predicts token i+1, as in an autoregressive model, so the anchor predicts the
block's first token. In training, several *branches* (a rest of the line, a middle) may share one clean trunk: a branch
sees the trunk up to its fork. Based on BD3-LM (Arriola et al. 2025) and the shifted block diffusion of Fast-dLLM v2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

# The canvas numbers of an absent key and of padding rows; the latter exceeds the canvases of any session.
ABSENT_CANVAS, PADDING_CANVAS = -1, 1 << 20


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """The place of each row, as integer arrays or tensors of one shape (..., T).

    ``position``: the position of the row's token. ``start``: the row sees no clean token from this position on.
    ``canvas``: 0 for clean rows, else the number of the canvas. ``branch``: 0 on the trunk, else the number of the
    branch. ``fork``: the number of trunk tokens that a branch sees.
    """

    position: Any
    start: Any
    canvas: Any
    branch: Any
    fork: Any

    @classmethod
    def clean(cls, first: int, count: int) -> TokenLayout:
        """Return the rows of ``count`` known tokens of the trunk, from position ``first`` on. int64 arrays (count,)"""
        position = np.arange(first, first + count)
        zero, start = np.zeros_like(position), position + 1
        return cls(position, start, zero, zero, start)

    @classmethod
    def block(cls, first: int, size: int, number: int = 1) -> TokenLayout:
        """Return the rows of a canvas of the trunk: the anchor at ``first - 1``, and ``size`` tokens from ``first`` on.

        int64 arrays (size + 1,)
        """
        position = np.arange(first - 1, first + size)
        start = np.full_like(position, first)
        return cls(position, start, np.full_like(position, number), np.zeros_like(position), start)

    @classmethod
    def join(cls, *parts: TokenLayout) -> TokenLayout:
        """Return the rows of several layouts, concatenated along the last dimension."""
        return cls(
            *(np.concatenate([getattr(part, field.name) for part in parts], -1) for field in fields(cls))
        )

    def map(self, change: Callable[[Any], Any]) -> TokenLayout:
        """Return the same rows with ``change`` applied to each field."""
        return TokenLayout(*(change(getattr(self, field.name)) for field in fields(self)))


def attention_mask(query: TokenLayout, key: TokenLayout) -> Any:
    """Return which keys each query sees: (..., Tq) and (..., Tk) -> bool (..., Tq, Tk)."""
    return attends(query.map(lambda row: row[..., None]), key.map(lambda row: row[..., None, :]))


def attends(q: TokenLayout, k: TokenLayout) -> Any:
    """Apply the attention rule: return whether ``q`` sees ``k``, elementwise, for shapes that broadcast."""
    lineage = (k.branch == q.branch) | ((k.branch == 0) & (k.position < q.fork))
    context = (k.canvas == 0) & lineage & (k.position < q.start)
    same_canvas = (k.canvas > 0) & (k.canvas == q.canvas)
    return context | same_canvas


def needs_no_mask(rows: TokenLayout) -> bool:
    """Return whether rows (T,) after the kept ones need no mask, because each row sees all kept and all new rows.

    This holds for one clean row, and for one canvas.
    """
    if len(rows.position) == 1:
        return True
    first = rows.canvas[0]
    return bool(first > 0) and bool((rows.canvas == first).all())
