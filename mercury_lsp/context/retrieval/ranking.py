"""Chooses the related text: snippets of other files that the model sees in addition to the window.

A source ranks candidates by the lines around the cursor's line, but not by that line itself. Candidates that repeat
the window or a better candidate are dropped, and the best ones are taken up to a budget of tokens. `SnippetCache`
repeats a choice while the cursor stays nearby: related text comes first in the prompt, so each change costs a whole
prefill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mercury_lsp.context.retrieval.index import Chunk, Library, words
from mercury_lsp.engine.tokenizer import Prompt, Snippet
from mercury_lsp.syntax.document import Document, plain

# The numbers of lines above and below the cursor's line whose words are compared.
LINES_ABOVE, LINES_BELOW = 20, 5
# The text above the cursor in which these lines are searched.
NEARBY_CHARACTERS = 120_000
# The number of candidates of a source.
MAX_CANDIDATES = 6
# The number of open documents, most recently used first, whose chunks are compared.
MAX_OPEN_DOCUMENTS = 8
# Chunks with a lower Jaccard index are unrelated to the cursor.
MIN_SIMILARITY = 0.06
# A candidate is dropped from this share of known lines on.
MAX_REPEATED_SHARE = 0.5
# Less budget is not worth a snippet.
MIN_BUDGET_TOKENS = 12
# The least number of lines of a cut candidate.
MIN_SNIPPET_LINES = 3
# The distance from its place, in lines, within which a choice is repeated.
KEEP_LINES = 10
# The same while the start of the window has not moved; once it has, most of the prompt must be prefilled anyway.
KEEP_STILL_LINES = 30
# The number of characters that identify the start of a window.
HEAD_CHARACTERS = 200
# The number of documents whose choices are kept.
MAX_CACHED_DOCUMENTS = 16

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Lines of a file, from line ``line`` on, that may become a snippet."""

    path: str
    line: int
    text: str

    def overlaps(self, other: Candidate) -> bool:
        """Return whether both candidates contain the same line of a file."""
        return self.path == other.path and self.line <= other._last and other.line <= self._last

    @property
    def _last(self) -> int:
        return self.line + self.text.count("\n")


Source = Callable[[Document, int, Prompt, Library], list[Candidate]]
"""Returns the candidates for a document, the cursor's offset, the window and the library, the best first."""


def nearby(document: Document, offset: int) -> list[str]:
    """Return the lines around the cursor's line without it: first those above, upwards, then those below."""
    before, after = plain(document.text[:offset]), plain(document.text[offset:])
    above = before[: before.rfind("\n") + 1][-NEARBY_CHARACTERS:].split("\n")[:-1]
    below = after.partition("\n")[2][: 200 * LINES_BELOW].split("\n")
    return [*reversed(above[-LINES_ABOVE:]), *below[:LINES_BELOW]]


def opened(document: Document, offset: int, shown: Prompt, library: Library) -> list[Candidate]:
    """Return the most similar chunks of the other open documents, by the Jaccard index of their words."""
    evidence = words("\n".join(nearby(document, offset)))
    others = [path for path in library.opened if path != document.path and path in library.entries]
    ranked = [
        (similarity, Candidate(path, chunk.line, chunk.text))
        for path in others[:MAX_OPEN_DOCUMENTS]
        for similarity, chunk in similar(evidence, library.entries[path].chunks)
    ]
    candidates: list[Candidate] = []
    for _, candidate in sorted(ranked, key=lambda pair: -pair[0]):
        if len(candidates) < MAX_CANDIDATES and not any(map(candidate.overlaps, candidates)):
            candidates.append(candidate)
    return candidates


def similar(evidence: frozenset[str], chunks: Iterable[Chunk]) -> list[tuple[float, Chunk]]:
    """Return the chunks with the highest Jaccard index with `evidence`, and that index, the most similar first."""
    ranked = []
    for chunk in chunks:
        shared = len(evidence & chunk.words)
        similarity = shared / max(1, len(evidence) + len(chunk.words) - shared)
        if shared > 1 and similarity >= MIN_SIMILARITY:
            ranked.append((similarity, chunk))
    return sorted(ranked, key=lambda pair: -pair[0])[:MAX_CANDIDATES]


@dataclass(frozen=True, slots=True)
class Related:
    """The budget of related text in tokens, and its source.

    The defaults are the best for the shipped weights, see docs/retrieval.md; training varies them.
    """

    tokens: int = 96
    source: Source = opened


DEFAULT_RELATED = Related()


def choose_snippets(
    document: Document,
    offset: int,
    shown: Prompt,
    library: Library,
    count: Count,
    related: Related = DEFAULT_RELATED,
) -> tuple[Snippet, ...]:
    """Choose the related text for the window ``shown`` around an offset, the most relevant snippet last.

    The snippets have at most ``related.tokens`` tokens, including file names and separators. Pure: equal arguments give
    an equal choice, which does not depend on the cursor's line.
    """
    left = related.tokens
    if left < MIN_BUDGET_TOKENS:
        return ()
    known = distinct(shown.prefix) | distinct(shown.following)
    chosen: list[Snippet] = []
    taken: list[Candidate] = []
    for candidate in related.source(document, offset, shown, library):
        lines = distinct(candidate.text)
        if not lines or len(lines & known) >= MAX_REPEATED_SHARE * len(lines):
            continue
        if any(candidate.overlaps(other) for other in taken):
            continue
        snippet, tokens = _fit(candidate, count, left)
        if snippet is not None:
            chosen.append(snippet)
            taken.append(candidate)
            known |= distinct(snippet.text)
            left -= tokens
            if left < MIN_BUDGET_TOKENS:
                break
    return tuple(reversed(chosen))


def distinct(text: str) -> set[str]:
    """Return the stripped lines of a text that are long enough to indicate a repetition."""
    return {line for line in map(str.strip, text.split("\n")) if len(line) > 3}


@dataclass(frozen=True, slots=True)
class Choice:
    """The snippets chosen for a document at line ``line``.

    ``head``: the start of the window at that time. ``last``: the cursor's line when the choice was last repeated.
    """

    document: Document
    related: Related
    head: str
    line: int
    last: int
    snippets: tuple[Snippet, ...]

    def is_valid(
        self, document: Document, line: int, window: str, related: Related, library: Library
    ) -> bool:
        """Return whether the choice may be repeated: the text above the cursor's line is unchanged, and it is near.

        Its files must still be in the library.
        """
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


class SnippetCache:
    """The last choices by document. Not thread-safe: used in the worker's thread only."""

    def __init__(self) -> None:
        self._choices: dict[str, Choice] = {}

    def choose_snippets(
        self,
        document: Document,
        offset: int,
        shown: Prompt,
        library: Library,
        count: Count,
        related: Related = DEFAULT_RELATED,
    ) -> tuple[Snippet, ...]:
        """Return the earlier choice for the document if it is still valid, or else choose snippets again."""
        line = document.position(offset)[0]
        old = self._choices.pop(document.uri, None)
        if old is not None and old.snippets and old.is_valid(document, line, shown.prefix, related, library):
            self._choices[document.uri] = replace(old, document=document, last=line)
            return old.snippets
        snippets = choose_snippets(document, offset, shown, library, count, related)
        head = shown.prefix[: shown.prefix.rfind("\n") + 1][:HEAD_CHARACTERS]
        self._choices[document.uri] = Choice(document, related, head, line, line, snippets)
        while len(self._choices) > MAX_CACHED_DOCUMENTS:
            del self._choices[next(iter(self._choices))]
        return snippets


def _fit(candidate: Candidate, count: Count, left: int) -> tuple[Snippet | None, int]:
    """Return a snippet of as many of a candidate's lines as fit, and its tokens with file name and separator.

    Returns None and 0 if too few lines fit.
    """
    lines = candidate.text.split("\n")
    tokens = 1 + count(f"{candidate.path}\n{candidate.text}")
    while tokens > left and len(lines) > 1:
        # Lines have about equal lengths: cut until the rest probably fits, but at least one line.
        keep = min(len(lines) - 1, max(1, len(lines) * left // tokens))
        lines = lines[:keep]
        tokens = 1 + count("\n".join([candidate.path, *lines]))
    text = "\n".join(lines).rstrip()
    cut = len(lines) <= candidate.text.count("\n")
    if tokens > left or not text.strip() or (cut and len(lines) < MIN_SNIPPET_LINES):
        return None, 0
    return Snippet(candidate.path, text), tokens
