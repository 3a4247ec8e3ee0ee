"""Chooses the pieces of other files that the model sees beside the window.

A source ranks candidates by the lines around the cursor's, never by the cursor's own line. What repeats the window or a
better candidate is dropped, and the best candidates are taken up to a budget of tokens. `Memory` keeps a choice while
the cursor goes on from there: related text comes first in the prompt, so each change of it costs a whole prefill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mercury_lsp.context.retrieval.index import Chunk, Library, words
from mercury_lsp.engine.tokenizer import Prompt, Snippet
from mercury_lsp.syntax.document import Document, plain

# Lines around the cursor's whose words are the evidence.
ABOVE, BELOW = 20, 5
# Above the cursor, in which these lines are looked for.
NEARBY_CHARACTERS = 120_000
# Candidates of a source.
MAX_CANDIDATES = 6
# Open documents, the last used, whose pieces are compared.
MAX_OPENED = 8
# Jaccard's index below which a piece of a file has nothing to do with the cursor.
MIN_LIKENESS = 0.06
# Share of a candidate's lines that are known already, from which on it is dropped.
REPEATED = 0.5
# A snippet is worth no less.
MIN_BUDGET_TOKENS = 12
# Lines that may be left of a longer candidate.
FEWEST = 3
# A choice is kept within so many lines of the place where it was made.
KEEP_LINES = 10
# As long as the window begins where it did: once it has moved, most must be read again anyway.
KEEP_STILL_LINES = 30
# Characters by which the beginning of a window is told.
HEAD = 200
# Documents whose choices are kept.
KEPT_DOCUMENTS = 16

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Lines of a file that may be shown, from line ``line`` on."""

    path: str
    line: int
    text: str

    def overlaps(self, other: Candidate) -> bool:
        """Whether both show some line of the same file."""
        return self.path == other.path and self.line <= other._last and other.line <= self._last

    @property
    def _last(self) -> int:
        return self.line + self.text.count("\n")


Source = Callable[[Document, int, Prompt, Library], list[Candidate]]
"""Given a document, the cursor's offset, the window and the library: candidates, the best first."""


def nearby(document: Document, offset: int) -> list[str]:
    """The lines around the cursor's own line, from there upwards and then downwards."""
    before, after = plain(document.text[:offset]), plain(document.text[offset:])
    above = before[: before.rfind("\n") + 1][-NEARBY_CHARACTERS:].split("\n")[:-1]
    below = after.partition("\n")[2][: 200 * BELOW].split("\n")
    return [*reversed(above[-ABOVE:]), *below[:BELOW]]


def opened(document: Document, offset: int, shown: Prompt, library: Library) -> list[Candidate]:
    """The most similar pieces of the documents that are open beside this one, by Jaccard's index of their words."""
    evidence = words("\n".join(nearby(document, offset)))
    others = [path for path in library.opened if path != document.path and path in library.entries]
    ranked = [
        (likeness, Candidate(path, chunk.line, chunk.text))
        for path in others[:MAX_OPENED]
        for likeness, chunk in similar(evidence, library.entries[path].chunks)
    ]
    candidates: list[Candidate] = []
    for _, candidate in sorted(ranked, key=lambda pair: -pair[0]):
        if len(candidates) < MAX_CANDIDATES and not any(map(candidate.overlaps, candidates)):
            candidates.append(candidate)
    return candidates


def similar(evidence: frozenset[str], chunks: Iterable[Chunk]) -> list[tuple[float, Chunk]]:
    """The pieces that have words in common with the evidence, and their likeness, the most similar first."""
    ranked = []
    for chunk in chunks:
        shared = len(evidence & chunk.words)
        likeness = shared / max(1, len(evidence) + len(chunk.words) - shared)
        if shared > 1 and likeness >= MIN_LIKENESS:
            ranked.append((likeness, chunk))
    return sorted(ranked, key=lambda pair: -pair[0])[:MAX_CANDIDATES]


@dataclass(frozen=True, slots=True)
class Related:
    """How much text is shown beside the window, in tokens, and its source.

    The defaults are what the weights gain by, see docs/retrieval.md; training draws others.
    """

    tokens: int = 96
    source: Source = opened


USUAL = Related()


def choose(
    document: Document, offset: int, shown: Prompt, library: Library, count: Count, related: Related = USUAL
) -> tuple[Snippet, ...]:
    """What to show beside the window ``shown`` around an offset, the most relevant last; maybe nothing.

    It takes ``related.tokens`` at most, with the names of the files and their separators. Pure: equal arguments give an
    equal choice, which does not depend on the cursor's own line.
    """
    left = related.tokens
    if left < MIN_BUDGET_TOKENS:
        return ()
    known = distinct(shown.prefix) | distinct(shown.following)
    chosen: list[Snippet] = []
    taken: list[Candidate] = []
    for candidate in related.source(document, offset, shown, library):
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


def distinct(text: str) -> set[str]:
    """The lines of a text by which repetition is told: not those of brackets and short words."""
    return {line for line in map(str.strip, text.split("\n")) if len(line) > 3}


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for a document at line ``line``, and where its cursor was last while that was kept."""

    document: Document
    related: Related
    head: str  # of the window that it was made for
    line: int
    last: int
    snippets: tuple[Snippet, ...]

    def holds(self, document: Document, line: int, window: str, related: Related, library: Library) -> bool:
        """Whether it may be kept: nothing above the cursor's line changed, the cursor is near, its files are there."""
        old = self.document
        same = (old.path, old.language_id, self.related) == (document.path, document.language_id, related)
        far = KEEP_STILL_LINES if window.startswith(self.head) else KEEP_LINES
        if (
            not same
            or abs(line - self.line) >= far
            or any(s.path not in library.entries for s in self.snippets)
        ):
            return False
        edge = min(document.span(line)[0], old.span(self.last)[0])
        return document.text[:edge] == old.text[:edge]


class Memory:
    """The last choices, by document. It belongs to whoever reads prompts one after the other: the worker's thread."""

    def __init__(self) -> None:
        self._choices: dict[str, Choice] = {}

    def choose(
        self,
        document: Document,
        offset: int,
        shown: Prompt,
        library: Library,
        count: Count,
        related: Related = USUAL,
    ) -> tuple[Snippet, ...]:
        """As `choose`, or what was chosen before, where that still holds and its files may still be shown."""
        line = document.position(offset)[0]
        old = self._choices.pop(document.uri, None)
        if old is not None and old.snippets and old.holds(document, line, shown.prefix, related, library):
            self._choices[document.uri] = replace(old, document=document, last=line)
            return old.snippets
        snippets = choose(document, offset, shown, library, count, related)
        head = shown.prefix[: shown.prefix.rfind("\n") + 1][:HEAD]
        self._choices[document.uri] = Choice(document, related, head, line, line, snippets)
        while len(self._choices) > KEPT_DOCUMENTS:
            del self._choices[next(iter(self._choices))]
        return snippets


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
