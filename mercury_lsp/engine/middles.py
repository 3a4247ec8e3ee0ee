"""What decoded tokens are to a user: a text, its lines, and a draft with marks where nothing is decided yet.

Owns that translation, for every engine. Knows no network and no decoding.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from mercury_lsp.engine.canvas import Vocabulary
from mercury_lsp.engine.infiller import UNDECIDED, Line


def lines_of(
    vocabulary: Vocabulary, newlines: Container[int], text: str, tokens: Sequence[int], logp: Sequence[float]
) -> tuple[Line, ...]:
    """The lines of a text that one of its tokens ends. logp: of the tokens, in order."""
    lines = []
    for i, token in enumerate(tokens):
        if token in newlines:
            end = text.find("\n", len(vocabulary.decode(tokens[:i])))
            lines.append(Line(end, i + 1, sum(logp[: i + 1])))
    return tuple(lines)


def draft_text(
    vocabulary: Vocabulary, ends: Container[int], settled: Sequence[int], behind: Sequence[int | None]
) -> str:
    """A draft's text up to the first token that ends it, a mark for each undecided one."""
    text, run = "", list(settled)
    for token in behind:
        if token is None:
            text, run = text + vocabulary.decode(run) + UNDECIDED, []
        elif token in ends:
            break
        else:
            run.append(token)
    return text + vocabulary.decode(run)
