"""Finds the tokens that followed a context in the workspace's other files and in the open document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.context.memory.passage import Passage
from mercury_lsp.context.memory.segment import Ids, Key, Segment
from mercury_lsp.engine.decoding.mixture import CONTEXT_TOKENS, Level, Match, Step
from mercury_lsp.engine.tokenizer import Vocabulary

MAX_PLACES = 256
"""The number of places whose next tokens are counted."""
MAX_VOTING_PLACES = 64
"""The number of places that vote on a draft."""
MAX_SHORTER_MATCHES = 8
"""The number of shorter matches that are tried until one occurs at enough more places."""
RESUMED_TOKENS = 16
"""The number of tokens after the cursor with which a continuation is compared."""


@dataclass(frozen=True, slots=True, eq=False)
class ProjectMemory:
    """The tokens of a workspace's files in one ``vocabulary``. ``dead``: for each segment, the files to ignore."""

    segments: tuple[Segment, ...] = ()
    dead: tuple[frozenset[str], ...] = ()
    vocabulary: Vocabulary | None = None

    def without(self, paths: Collection[str]) -> ProjectMemory:
        """Return the memory without some files. This is fast, because nothing is sorted again."""
        gone = frozenset(paths)
        dead = (old | gone.intersection(s.paths) for s, old in zip(self.segments, self.dead, strict=True))
        return replace(self, dead=tuple(dead)) if gone else self

    def for_document(self, path: str, before: Ids, after: Ids) -> DocumentMemory:
        """Return the memory for an open document, whose own file in the memory is ignored.

        `before`: ids of the text up to the stem of the prompt. `after`: ids of the text from the cursor on. Takes some
        milliseconds for a million tokens if the last call was for another document, and otherwise almost no time.
        """
        living = (s.without(dead | {path}) for s, dead in zip(self.segments, self.dead, strict=True))
        segments = tuple(segment for segment in living if segment.places)
        return DocumentMemory(path, segments, Passage(before, after), after[:RESUMED_TOKENS].tolist())


EMPTY = ProjectMemory()

Places = Sequence[tuple[Segment | Passage, NDArray[np.integer]]]
"""Reversed texts, and the indices in them at which contexts begin."""


@dataclass(frozen=True, slots=True, eq=False)
class DocumentMemory:
    """The project memory for one state of one document, a `mixture.Memory`. Its answers are cached."""

    path: str
    segments: tuple[Segment, ...]
    passage: Passage
    after: list[int]
    _cache: dict[tuple[int, ...], Match] = field(default_factory=dict)

    def find_match(self, context: Sequence[int]) -> Match:
        """See `Memory.follow`."""
        last = tuple(context[-CONTEXT_TOKENS:])
        if last not in self._cache:
            self._cache[last] = self._find_match(last) if last else Match()
        return self._cache[last]

    def predict_continuation(self, context: Sequence[int], max_tokens: int) -> list[Step]:
        """See `Memory.foretell`. The places with the longest match vote on each token; those that agree remain."""
        last = tuple(context[-CONTEXT_TOKENS:])
        if not last:
            return []
        key = Key.of(last, self.passage.width)
        own = self.passage.matches(key, last)
        search = _Search(self.segments, key)
        if own and own[-1][0] >= search.length:
            return _predict(self._nearest(own[-1][1], MAX_VOTING_PLACES), own[-1][0], max_tokens, True)
        return _predict(search.places(MAX_VOTING_PLACES), search.length, max_tokens, False)

    def _find_match(self, context: tuple[int, ...]) -> Match:
        key = Key.of(context, self.passage.width)
        own = self.passage.matches(key, context)
        document = [
            _count_next(length, len(places), self._nearest(places, MAX_PLACES))
            for length, places in _select_matches(own)
        ]
        search = _Search(self.segments, key)
        project: list[tuple[Level, tuple[Segment | Passage, int]]] = []
        for _ in range(MAX_SHORTER_MATCHES):
            if not search.length or len(project) == 2:
                break
            if not project or search.total >= _min_shorter_places(project[0][0].total):
                project.append(_count_next(search.length, search.total, search.places(MAX_PLACES)))
            search.shorten()
        firsts = [levels[0] for levels in (document, project) if levels]
        if not firsts:
            return Match()
        _, (text, at) = max(firsts, key=lambda pair: pair[0].length)
        return Match(
            project=tuple(level for level, _ in project),
            document=tuple(level for level, _ in document),
            path=text.path(at) if isinstance(text, Segment) else self.path,
            resumes=self._resumes(text, at),
        )

    def _nearest(self, own: NDArray[np.intp], most: int) -> Places:
        return [(self.passage, self.passage.nearest(own, most))]

    def _resumes(self, text: Segment | Passage, at: int) -> int:
        ahead = text.tokens_at(np.arange(at, max(0, at - len(self.after)), -1))
        return next((i for i, pair in enumerate(zip(ahead, self.after)) if pair[0] != pair[1]), len(ahead))  # noqa: B905


class _Search:
    """The places in segments that match the longest end of a context; `shorten` goes on to shorter matches."""

    def __init__(self, segments: Sequence[Segment], key: Key) -> None:
        self.length = self.total = 0
        self._key = key
        self._spans = [(segment, place := segment.place(key), place) for segment in segments]
        self._next = [self._longest_adjacent_match(*span) for span in self._spans]
        self.shorten()

    def shorten(self) -> None:
        """Extend the places to the next shorter match; to length 0 if there is none."""
        self.length = max(self._next, default=0)
        if not self.length:
            return
        for number, (segment, first, end) in enumerate(self._spans):
            if self._next[number] == self.length:
                span = segment, *segment.span(first, end, self._key, self.length)
                self._spans[number], self._next[number] = span, self._longest_adjacent_match(*span)
        self.total = sum(end - first for _, first, end in self._spans)

    def places(self, most: int) -> Places:
        """Return at most `most` of the places of each segment."""
        return [(s, s.indices(first, end, most)) for s, first, end in self._spans if end > first]

    def _longest_adjacent_match(self, segment: Segment, first: int, end: int) -> int:
        return max(segment.shared(first - 1, self._key), segment.shared(end, self._key))


def _count_next(length: int, total: int, places: Places) -> tuple[Level, tuple[Segment | Passage, int]]:
    """Count the tokens that followed at some places; also return a place of the most frequent one."""
    if total == 1:
        (text, indices), *_ = places
        return Level(length, tuple(text.tokens_at(indices)), (1,), 1), (text, int(indices[0]))
    found = [text.tokens_at(indices) for text, indices in places]
    counted = Counter(chain.from_iterable(found)).most_common()
    ids, counts = zip(*counted, strict=True)
    for (text, indices), tokens in zip(places, found, strict=True):
        if ids[0] in tokens:
            return Level(length, ids, counts, total), (text, int(indices[tokens.index(ids[0])]))
    raise AssertionError("the likeliest token is one of those that were counted")


def _select_matches(own: Sequence[tuple[int, NDArray[np.intp]]]) -> list[tuple[int, NDArray[np.intp]]]:
    """Return the longest match and the longest shorter one with enough more places; `own` is in ascending length."""
    if not own:
        return []
    enough = _min_shorter_places(len(own[-1][1]))
    shorter = (match for match in reversed(own[:-1]) if len(match[1]) >= enough)
    return [own[-1], *islice(shorter, 1)]


def _min_shorter_places(total: int) -> int:
    """Return the number of places that make a shorter match worth counting after one with ``total`` places."""
    return 2 * total + 1


def _predict(places: Places, length: int, most: int, document: bool) -> list[Step]:
    steps: list[Step] = []
    while places and len(steps) < most:
        found = [np.array(text.tokens_at(indices)) for text, indices in places]
        counted = Counter(chain.from_iterable(tokens.tolist() for tokens in found))
        (token, agreeing), *_ = counted.most_common(1)
        if token == places[0][0].separator:
            break
        steps.append(
            Step(token, min(CONTEXT_TOKENS, length + len(steps)), counted.total(), agreeing, document)
        )
        left = [
            (text, indices[tokens == token] - 1)
            for (text, indices), tokens in zip(places, found, strict=True)
        ]
        places = [(text, indices) for text, indices in left if len(indices)]
    return steps
