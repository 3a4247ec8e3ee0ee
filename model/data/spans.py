"""Draws holes: the part of a file that the model must fill in, and the prompt that the server would build.

Holes are cut at character positions, like a cursor, not at token boundaries. Then the prompt is healed, as in serving:
the prompt ends before its last pre-token, and the middle begins with the stem, the text from there to the cursor
(FIM-SE, Ren et al. 2024). All holes of a group end on one line, so their prompts share the following lines and most of
the prefix, and can share one trunk. Prompts are built by the server's own `context.prompt.build`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from mercury_lsp.context import prompt
from mercury_lsp.engine.tokenizer import Prompt, Snippet
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax
from model.data.nodes import nodes as syntax_nodes
from model.training.recipe import KINDS

# In longer holes, canvases rarely reach the end, so they teach little about where to stop.
MIDDLE_CHARACTERS = 320


@dataclass(frozen=True, slots=True)
class Hole:
    """A prompt and the missing text, which begins with the prompt's stem."""

    kind: str
    prompt: Prompt
    middle: str


@dataclass(frozen=True, slots=True)
class Budget:
    """The sizes of a group's windows, in tokens."""

    prefix: int
    following: int


Nodes = Callable[[int, int], list[tuple[int, int]]]
"""Takes the start and end of a line; returns the character ranges of the syntax nodes to cut that end on the line."""


ChooseRelated = Callable[[str, int, Prompt], tuple[Snippet, ...]]
"""Takes a text, the offset of the cursor and the window around it; returns the related text."""


def node_finder(path: str, text: str) -> Nodes:
    """Return a function that finds argument lists, conditions and bodies; the file is parsed at its first call."""

    @cache
    def found() -> list[tuple[int, int, str]]:
        return syntax_nodes(Syntax.of(Document(uri="", path=path, language_id="", version=0, text=text)))

    return lambda start, end: [(a, b) for a, b, _ in found() if start <= b <= end]


def cut(
    path: str,
    text: str,
    count: Callable[[str], int],
    budget: Budget,
    holes: int,
    random: Random,
    nodes: Nodes,
    kinds: Mapping[str, float] = KINDS,
    choose_related: ChooseRelated | None = None,
    stem_start: prompt.StemStart = len,
) -> list[Hole]:
    """Cut a group of at most ``holes`` holes, which all end on one random line of a file; some files yield none.

    choose_related: called once for all holes, with the text without all of them. stem_start: see `prompt.build`; by
    default prompts are not healed.
    """
    starts = [0, *(i + 1 for i, c in enumerate(text) if c == "\n")]
    ends = [*(start - 1 for start in starts[1:]), len(text)]
    filled = [i for i, start in enumerate(starts) if len(text[start : ends[i]].strip()) > 2]
    if not filled:
        return []
    line = random.choice(filled)
    ranges: dict[tuple[int, int], str] = {}
    for kind in random.choices(list(kinds), list(kinds.values()), k=holes):
        found = _range(kind, text, starts, ends, line, random, nodes)
        if found is None or found in ranges or not text[slice(*found)].strip():
            continue
        ranges[found] = kind
    if not ranges:
        return []
    related: tuple[Snippet, ...] = ()
    if choose_related is not None:
        first, end = min(a for a, _ in ranges), ends[line]
        shown = prompt.build(path, text[:first], text[end:], count, budget.prefix, budget.following)
        related = choose_related(text[:first] + text[end:], first, shown)
    # Healing makes holes that begin within the same word equal.
    group: dict[tuple[Prompt, str], Hole] = {}
    for (a, b), kind in ranges.items():
        made = prompt.build(
            path, text[:a], text[b:], count, budget.prefix, budget.following, related, stem_start
        )
        middle = made.stem + text[a:b]
        group.setdefault((replace(made, stem=""), middle), Hole(kind, made, middle))
    return list(group.values())


def _range(
    kind: str, text: str, starts: list[int], ends: list[int], line: int, random: Random, nodes: Nodes
) -> tuple[int, int] | None:
    """Draw the character range of a hole that ends on ``line``; return None if there is none of this kind."""
    start, end = starts[line], ends[line]
    indented = start + len(text[start:end]) - len(text[start:end].lstrip())
    # The cursor is at the start of the line or, since editors indent, after the indentation.
    if kind == "line":
        return random.choice((start, indented)), end
    if kind == "rest":
        return random.randint(indented, max(indented, end - 2)), end
    first = max(0, line - random.randint(1, 5))
    if kind == "lines":
        a = random.choice((starts[first], ends[first], random.randint(starts[first], ends[first])))
        return (a, end) if end - a <= MIDDLE_CHARACTERS else None
    if kind == "node":
        found = [(a, b) for a, b in nodes(start, end) if 2 < b - a <= MIDDLE_CHARACTERS]
        return random.choice(found) if found else None
    a = random.randint(starts[random.choice((first, line))], end)
    b = random.randint(max(a, start), end)
    return (a, b) if 0 < b - a <= MIDDLE_CHARACTERS else None
