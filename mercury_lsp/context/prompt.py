"""The text that the model is shown around a cursor, cut to a budget of tokens.

Owns where the windows begin and end. They must stand still while the user types, because only the tokens before the
first change are found in the engine's cache. So the file is divided into strides of characters, counted from its top
(the lines below: from the end of the cursor's line), and a window ends only where the first line of a stride starts.
Knows neither the tokens themselves (it is handed a counter) nor the order in which `encode_prompt` lays them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from mercury_lsp.engine.tokenizer import Prompt, Snippet
from mercury_lsp.syntax.document import plain

STRIDES = (1, 8, 64)  # parts of the budget, as characters: the first is about a third of the budget's tokens
REST_TOKENS = 64  # the rest of the cursor's line is short, except in minified files
CHARACTERS_PER_TOKEN = 12  # no window of code has more on average, so what is longer need not be counted

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
    """The prompt for a cursor between `before` and `after`, texts with line endings of any kind.

    `count` gives the number of tokens of a text, and costs about 1 µs a character: it sees only what is near the
    cursor. `prefix` and `stem` hold at most `prefix_tokens` of them, `following` `following_tokens`, `rest`
    `REST_TOKENS`. `stem_start` gives the index at which the stem of a text begins, `Vocabulary.stem_start`; by default
    there is no stem. Pure: equal arguments give an equal prompt.
    """
    if before.endswith("\r") and after.startswith("\n"):  # a cursor inside of \r\n stands before it
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
    """Where the window ends which begins at `cursor`, one end of `text`, and goes on towards the other end."""
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
    for stride in strides:  # the line at the cursor is over the budget by itself
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
    """The cut furthest from `cursor` whose window is within the budget, and the window's tokens."""
    fitting = [cursor]
    total = 0
    for cut in sorted(cuts, reverse=cursor > 0):
        total += count(_between(text, fitting[-1], cut))
        if total > budget:
            break
        fitting.append(cut)
    # Tokens mostly merge across a cut, but a tokenizer may also split there: only the whole window's count is sure.
    while (total := count(_between(text, cursor, fitting[-1]))) > budget:
        fitting.pop()
    return fitting[-1], total


def _between(text: str, one: int, other: int) -> str:
    return text[one:other] if one < other else text[other:one]
