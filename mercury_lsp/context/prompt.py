"""Cuts the text around the cursor to a budget of tokens.

The windows must not move while the user types, because the KV cache is reused only up to the first change. So the text
before the cursor is divided into strides of characters from the top of the file, and the text after the cursor's line
from the end of that line. A window ends only at the first line start of a stride.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from mercury_lsp.engine.tokenizer import Prompt, Snippet
from mercury_lsp.syntax.document import plain

# Strides in characters are the budget divided by these; the first stride is about a third of the budget's tokens.
STRIDES = (1, 8, 64)
# The rest of the cursor's line is short, except in minified files.
REST_TOKENS = 64
# No window of code has more on average, so that longer text need not be counted.
CHARACTERS_PER_TOKEN = 12

Count = Callable[[str], int]
StemStart = Callable[[str], int]


def build(
    path: str,
    before: str,
    after: str,
    count: Count,
    prefix_tokens: int = 512,
    following_tokens: int = 192,
    related: Iterable[Snippet] = (),
    stem_start: StemStart = len,
) -> Prompt:
    """Build the prompt for a cursor between `before` and `after`, texts with any line endings.

    `count` returns the number of tokens of a text; it takes about 1 µs per character and is called only for text near
    the cursor. `prefix` and `stem` together have at most `prefix_tokens` tokens, `following` `following_tokens`, and
    `rest` `REST_TOKENS`. `stem_start` returns the index at which the stem of a text begins, see
    `Vocabulary.stem_start`; by default there is no stem. Pure: equal arguments give an equal prompt.
    """
    # A cursor inside of \r\n counts as before it.
    if before.endswith("\r") and after.startswith("\n"):
        before = before[:-1]
    before, after = plain(before), plain(after)
    end = after.find("\n")
    rest, following = (after, "") if end < 0 else (after[:end], after[end:])
    prefix = before[_edge(before, len(before), count, prefix_tokens) :]
    cut = stem_start(prefix)
    return Prompt(
        path=path,
        prefix=prefix[:cut],
        stem=prefix[cut:],
        rest=rest[: _edge(rest, 0, count, REST_TOKENS)],
        following=following[: _edge(following, 0, count, following_tokens)],
        related=tuple(related),
    )


def _edge(text: str, cursor: int, count: Count, budget: int) -> int:
    """Return the far end of the window that begins at `cursor`, which is one end of `text`."""
    far = len(text) - cursor
    reach = CHARACTERS_PER_TOKEN * budget
    low, high = (max(0, cursor - reach), cursor) if cursor else (0, min(far, reach))
    ends = {far} & {low, high}
    lines = _line_starts(text, low, high)
    strides = [max(1, budget // part) for part in STRIDES]
    cut = cursor
    for stride in strides:
        firsts = {line for above, line in pairwise(lines) if above // stride != line // stride}
        cut, tokens = _furthest(text, cursor, firsts | ends, count, budget)
        if cut == far or 3 * tokens >= budget:
            return cut
    if _between(text, cursor, cut).strip("\n"):
        return cut
    # The line at the cursor alone exceeds the budget.
    for stride in strides:
        inside = range(-(-low // stride) * stride, high, stride)
        cut, tokens = _furthest(text, cursor, ends.union(inside), count, budget)
        if 3 * tokens >= budget:
            break
    return cut


def _line_starts(text: str, low: int, high: int) -> list[int]:
    starts = [low]
    while (at := text.find("\n", starts[-1], high) + 1) > 0:
        starts.append(at)
    return starts


def _furthest(text: str, cursor: int, cuts: Iterable[int], count: Count, budget: int) -> tuple[int, int]:
    """Return the cut furthest from `cursor` whose window is within the budget, and the window's number of tokens."""
    fitting = [cursor]
    total = 0
    for cut in sorted(cuts, reverse=cursor > 0):
        total += count(_between(text, fitting[-1], cut))
        if total > budget:
            break
        fitting.append(cut)
    # Tokens mostly merge across a cut but may also split there, so only the count of the whole window is exact.
    while (total := count(_between(text, cursor, fitting[-1]))) > budget:
        fitting.pop()
    return fitting[-1], total


def _between(text: str, one: int, other: int) -> str:
    return text[one:other] if one < other else text[other:one]
