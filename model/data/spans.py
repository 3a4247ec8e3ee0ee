"""Draws holes: the piece of a file that the model must fill in, and the prompt that an editor would have sent.

Owns the kinds of holes and their shares. Holes are cut at character positions, as a cursor is, not at token
boundaries; then the prompt is healed, as in serving: it ends where its last pre-token begins, and the middle begins
with the text between there and the cursor, the stem (FIM-SE, Ren et al. 2024). A group's holes end on one line, so
that all its prompts share the following lines and most of the prefix and can hang on one encoded trunk. Prompts are
built by the server's own `context.prompt.build`. Knows no tensors.
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

MIDDLE_CHARACTERS = 320  # a longer hole teaches nothing about where to end within the canvases that we attach


@dataclass(frozen=True, slots=True)
class Hole:
    """A prompt and the text that was cut out of it, which begins with the prompt's stem."""

    kind: str
    prompt: Prompt
    middle: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens of one group's windows."""

    prefix: int
    following: int


Nodes = Callable[[int, int], list[tuple[int, int]]]
"""Given the start and end of a line, the syntax nodes worth cutting that end on it, as character ranges."""


Beside = Callable[[str, int, Prompt], tuple[Snippet, ...]]
"""Given a text, the offset of the cursor in it and what is shown around that: what is shown beside."""


def node_finder(path: str, text: str) -> Nodes:
    """Finds argument lists, conditions and bodies by tree-sitter; the file is parsed when first asked."""

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
    beside: Beside | None = None,
    stem_start: prompt.StemStart = len,
) -> list[Hole]:
    """A group of at most ``holes`` holes of a file, all ending on one random line. May be empty for a poor file.

    What is ``beside`` is the same for all: it is chosen as if all that any of them lacks were missing. stem_start:
    see `prompt.build`; by default prompts are not healed.
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
    if beside is not None:
        first, end = min(a for a, _ in ranges), ends[line]
        shown = prompt.build(path, text[:first], text[end:], count, budget.prefix, budget.following)
        related = beside(text[:first] + text[end:], first, shown)
    # Holes that begin within one word are one hole when they are healed.
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
    """Character range of a hole that ends on ``line``; None where the file has none of this kind there."""
    start, end = starts[line], ends[line]
    indented = start + len(text[start:end]) - len(text[start:end].lstrip())
    if kind == "line":  # the cursor stands at the line's start or, as editors indent, behind the indentation
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
