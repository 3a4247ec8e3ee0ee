"""Stop texts, and which of a growing text is sure to stay. Pure."""

from __future__ import annotations

from collections.abc import Sequence

HALF = "\ufffd"  # stands for a character of which not all bytes are there


def cut(text: str, stops: Sequence[str]) -> str | None:
    """A text up to the first stop text in it; None where there is none."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)] if found else None


def committed(text: str, stops: Sequence[str]) -> int:
    """How many characters of a text without stop texts stay whatever comes behind them: all but half a character, and
    what may be the start of a stop text."""
    sure = len(text.rstrip(HALF))
    starts = [
        length for stop in stops for length in range(1, len(stop)) if text[:sure].endswith(stop[:length])
    ]
    return sure - max(starts, default=0)
