"""Chooses the pieces of other files, and of the file's own hidden parts, that the model sees beside the window.

The rankings of the sources are fused by reciprocal ranks (Cormack, Clarke and Buettcher 2009), what repeats the window
or a better candidate is dropped, and the best ones are taken up to a budget of tokens. `Memory` keeps a choice while
the cursor goes on from there: related text comes first in the prompt, so each change of it costs a whole prefill.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from mercury_lsp.context.retrieval.index import Library
from mercury_lsp.context.retrieval.sources import EACH, RANKED, Around, Candidate, distinct
from mercury_lsp.engine.tokenizer import Prompt, Snippet
from mercury_lsp.syntax.document import Document

RANK = 60  # the constant of reciprocal rank fusion, as its authors chose it
REPEATED = 0.5  # share of a candidate's lines that are known already, from which on it is dropped
# A snippet is worth no less.
MIN_BUDGET_TOKENS = 12
FEWEST = 3  # lines that may be left of a longer candidate
SOURCES = ("signatures", "header", "definitions", "edits", "neighbors", "opened")
"""Where text is taken from that is shown beside the window, see `sources`."""
# A choice is kept within so many lines of the place where it was made.
KEEP_LINES = 10
# As long as the window begins where it did: once it has moved, most must be read again anyway.
KEEP_STILL_LINES = 30
HEAD = 200  # characters by which the beginning of a window is told
# Documents whose choices are kept.
KEPT_DOCUMENTS = 16

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Related:
    """How much text is shown beside the window, in tokens, and from which of the `SOURCES`.

    The defaults are what the weights gain by, see docs/retrieval.md; training draws others.
    """

    tokens: int = 96
    sources: tuple[str, ...] = ("opened",)


USUAL = Related()


def choose(
    document: Document,
    offset: int,
    shown: Prompt,
    library: Library,
    count: Count,
    budget_tokens: int,
    sources: Collection[str] = SOURCES,
) -> tuple[Snippet, ...]:
    """What to show beside the window ``shown`` around an offset, the most relevant last; maybe nothing.

    It takes ``budget_tokens`` at most, with the names of the files and their separators. Pure: equal arguments give an
    equal choice, which does not depend on the cursor's own line.
    """
    if budget_tokens < MIN_BUDGET_TOKENS or not sources:
        return ()
    around = Around(document, offset, shown)
    rankings = [RANKED[source](around, library) for source in SOURCES if source in sources]
    known = distinct(shown.prefix) | distinct(shown.following)
    chosen: list[Snippet] = []
    taken: list[Candidate] = []
    left = budget_tokens
    for candidate in _fused(rankings):
        lines = distinct(candidate.text)
        if not lines or len(lines & known) >= REPEATED * len(lines):
            continue
        if any(candidate.overlaps(other) for other in taken):
            continue
        snippet, tokens = _fitted(candidate, count, left)
        if snippet is not None:
            chosen.append(snippet)
            taken.append(candidate)
            known |= distinct(snippet.text)
            left -= tokens
            if left < MIN_BUDGET_TOKENS:
                break
    return tuple(reversed(chosen))


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for a document at line ``line``, and where its cursor was last while that was kept."""

    document: Document
    settings: tuple[int, tuple[str, ...]]
    head: str  # of the window that it was made for
    line: int
    last: int
    snippets: tuple[Snippet, ...]

    def holds(
        self, document: Document, line: int, window: str, settings: tuple[int, tuple[str, ...]]
    ) -> bool:
        """Whether it may be kept: nothing above the cursor's line changed, and the cursor is near."""
        old = self.document
        same = (old.path, old.language_id, self.settings) == (document.path, document.language_id, settings)
        far = KEEP_STILL_LINES if window.startswith(self.head) else KEEP_LINES
        if not same or abs(line - self.line) >= far:
            return False
        edge = min(document.span(line)[0], old.span(self.last)[0])
        return document.text[:edge] == old.text[:edge]


class Memory:
    """The last choices, by document. It belongs to whoever reads prompts one after the other: the worker's thread."""

    def __init__(self) -> None:
        self._choices: dict[str, Choice] = {}

    def related(
        self,
        document: Document,
        offset: int,
        shown: Prompt,
        library: Library,
        count: Count,
        budget_tokens: int,
        sources: Sequence[str],
    ) -> tuple[Snippet, ...]:
        """As `choose`, or what was chosen before, where that still holds and its files may still be shown."""
        line = document.position(offset)[0]
        settings = (budget_tokens, tuple(sources))
        old = self._choices.pop(document.uri, None)
        if old is not None and old.snippets and old.holds(document, line, shown.prefix, settings):
            known = {document.path, *(path for path, _ in library.edits)}
            if all(s.path in known or s.path in library.entries for s in old.snippets):
                self._choices[document.uri] = replace(old, document=document, last=line)
                return old.snippets
        snippets = choose(document, offset, shown, library, count, budget_tokens, sources)
        head = shown.prefix[: shown.prefix.rfind("\n") + 1][:HEAD]
        self._choices[document.uri] = Choice(document, settings, head, line, line, snippets)
        while len(self._choices) > KEPT_DOCUMENTS:
            del self._choices[next(iter(self._choices))]
        return snippets


def _fused(rankings: Iterable[Sequence[Candidate]]) -> list[Candidate]:
    """All candidates, the best first: each has from each ranking the reciprocal rank of the first that overlaps it."""
    rankings = [ranking[:EACH] for ranking in rankings]
    candidates = [candidate for ranking in rankings for candidate in ranking]

    def score(candidate: Candidate) -> float:
        ranks = (
            next((i for i, other in enumerate(ranking) if other.overlaps(candidate)), None)
            for ranking in rankings
        )
        return sum(1 / (RANK + rank) for rank in ranks if rank is not None)

    return sorted(candidates, key=lambda candidate: -score(candidate))


def _fitted(candidate: Candidate, count: Count, left: int) -> tuple[Snippet | None, int]:
    """As many of a candidate's lines as fit, and their tokens; the name and the separator count too."""
    lines = candidate.text.split("\n")
    tokens = 1 + count(f"{candidate.path}\n{candidate.text}")
    while tokens > left and len(lines) > 1:
        # Lines are about alike: cut so many that it probably fits, but one at least.
        keep = min(len(lines) - 1, max(1, len(lines) * left // tokens))
        lines = lines[:keep]
        tokens = 1 + count("\n".join([candidate.path, *lines]))
    text = "\n".join(lines).rstrip()
    cut = len(lines) <= candidate.text.count("\n")
    if tokens > left or not text.strip() or (cut and len(lines) < FEWEST):
        return None, 0
    return Snippet(candidate.path, text), tokens
