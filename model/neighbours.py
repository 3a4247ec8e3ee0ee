"""Snippets of a file's neighbours, as the related files that a prompt may carry in training.

Owns which piece of which file of the same package is shown: of a few candidates the one that shares most words with
the file, from a line on that shares some. Knows no tokens but their count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from mercury_lsp.engine.canvas import Snippet

CANDIDATES = 6
LONGEST = 100_000  # characters; what is longer is rarely worth reading
_WORD = re.compile(r"[A-Za-z_]\w{3,}")


def snippet(
    path: str,
    text: str,
    files: Sequence[tuple[str, str]],
    count: Callable[[str], int],
    tokens: int,
    random: Random,
) -> Snippet | None:
    """A piece of at most ``tokens`` tokens of one of the package's ``files`` (path, text); None if none fits."""
    others = [file for file in random.sample(files, min(CANDIDATES, len(files))) if file[0] != path]
    words = set(_WORD.findall(text[:LONGEST]))
    shared = [len(words.intersection(_WORD.findall(other[:LONGEST]))) for _, other in others]
    if not others or max(shared) == 0:
        return None
    chosen, other = others[shared.index(max(shared))]
    lines = other[:LONGEST].splitlines(keepends=True)
    fit = [i for i, line in enumerate(lines) if words.intersection(_WORD.findall(line))]
    first = random.choice(fit) if fit else 0
    taken = ""
    for line in lines[first:]:
        if count(taken + line) > tokens:
            break
        taken += line
    return Snippet(chosen, taken) if taken.strip() else None
