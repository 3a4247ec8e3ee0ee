"""Keeps the project memory up to date, in a low-priority thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mercury_lsp.context.background import Background
from mercury_lsp.context.memory.project import EMPTY, ProjectMemory
from mercury_lsp.context.memory.segment import Ids, Segment, dtype_for
from mercury_lsp.context.retrieval.index import Entry
from mercury_lsp.engine.tokenizer import Vocabulary

BATCH_CHARACTERS = 128_000
"""Characters that are encoded at once; before each batch the thread waits for the engine."""
SEGMENT_CHARACTERS = 1_000_000
"""Characters of a new segment in a large project; each segment is used as soon as it is built."""
MAX_SEGMENTS = 3
"""The largest number of segments, each of which is searched for each token. None is smaller than the next one."""


class Indexer(Background):
    """Builds the project memory of one workspace. The thread starts with the first vocabulary."""

    name = "mercury-indexer"

    def __init__(self) -> None:
        super().__init__()
        # The files that the memory should have.
        self._entries: Mapping[str, Entry] = {}
        self._vocabulary: Vocabulary | None = None
        # The files that its segments have and that are not dead.
        self._indexed: dict[str, Entry] = {}
        self._memory = EMPTY

    def set_vocabulary(self, vocabulary: Vocabulary | None) -> None:
        """Build the memory again with the vocabulary of another model; with None, drop it."""
        with self._changed:
            if vocabulary is self._vocabulary or self._stop:
                return
            self._vocabulary = vocabulary
            self._memory, self._indexed = ProjectMemory(vocabulary=vocabulary), {}
            if vocabulary is not None:
                self.start()
            self._changed.notify_all()

    def set_entries(self, entries: Mapping[str, Entry]) -> None:
        """Index these files, in this order. Files that are removed or changed leave the memory at once.

        The mapping must not change afterwards.
        """
        with self._changed:
            if entries is not self._entries:
                self._entries = entries
                self._forget()
                self._changed.notify_all()

    @property
    def memory(self) -> ProjectMemory:
        """The part of the current files that is indexed so far."""
        return self._memory

    @property
    def idle(self) -> bool:
        """Whether all files are indexed."""
        with self._changed:
            return self._vocabulary is None or (self._resting and not self._has_work())

    def _forget(self) -> None:
        gone = [path for path, entry in self._indexed.items() if self._entries.get(path) is not entry]
        if gone:
            for path in gone:
                del self._indexed[path]
            self._memory = self._memory.without(gone)

    def _work(self, due: bool) -> None:
        done = False
        with self.guard("indexing the workspace"):
            self._index()
            done = True
        if not done:
            # After an error, indexing is tried again only with another model's vocabulary.
            self.set_vocabulary(None)

    def _has_work(self) -> bool:
        return self._vocabulary is not None and next(self._unindexed_entries(), None) is not None

    def _unindexed_entries(self) -> Iterator[Entry]:
        return (entry for path, entry in self._entries.items() if self._indexed.get(path) is not entry)

    def _index(self) -> None:
        with self._progress() as tell:
            while not self._stop:
                with self._changed:
                    vocabulary, entries = self._vocabulary, list(self._unindexed_entries())
                if vocabulary is None or not entries:
                    break
                self._add(vocabulary, self._encode(vocabulary, entries))
                tell(len(self._indexed) / max(1, len(self._entries)))

    def _encode(self, vocabulary: Vocabulary, entries: list[Entry]) -> list[tuple[Entry, Ids]]:
        """Encode as many of the first entries as fill a segment; return them with their ids."""
        dtype = dtype_for(vocabulary.size)
        encoded: list[tuple[Entry, Ids]] = []
        characters = 0
        for batch in _batches(entries):
            self._wait_for_engine()
            if self._stop or vocabulary is not self._vocabulary or characters > SEGMENT_CHARACTERS:
                break
            texts = [text for _, text in batch]
            for (entry, _), ids in zip(batch, vocabulary.encode_all(texts), strict=True):
                encoded.append((entry, np.array(ids, dtype)))
            characters += sum(map(len, texts))
        return encoded

    def _add(self, vocabulary: Vocabulary, encoded: list[tuple[Entry, Ids]]) -> None:
        """Add a segment of some entries, merged with older segments if these are small or too many."""
        with self._changed:
            encoded = [(entry, ids) for entry, ids in encoded if self._entries.get(entry.path) is entry]
            before = self._memory
        if not encoded or before.vocabulary is not vocabulary:
            return
        kept, merged = _to_merge(before, sum(len(ids) for _, ids in encoded))
        files = [pair for segment, dead in merged for pair in _live_files(segment, dead)]
        files += [(entry.path, ids) for entry, ids in encoded]
        segment = Segment.build(files, dtype_for(vocabulary.size))
        with self._changed:
            if self._vocabulary is not vocabulary:
                return
            # Files that became dead while the segment was built must stay dead.
            added = {own.path: own for own, _ in encoded if self._entries.get(own.path) is own}
            paths = self._indexed.keys() | added.keys()
            masks = dict(zip(map(id, self._memory.segments), self._memory.dead, strict=True))
            segments = (*(part for part, _ in kept), segment)
            dead = (*(masks[id(part)] for part, _ in kept), frozenset(segment.paths) - paths)
            self._memory = ProjectMemory(segments, dead, vocabulary)
            self._indexed |= added


Part = tuple[Segment, frozenset[str]]


def _to_merge(memory: ProjectMemory, tokens: int) -> tuple[list[Part], list[Part]]:
    """Return the segments that stay unchanged, and those to merge into a new segment of `tokens` tokens."""
    kept = list(zip(memory.segments, memory.dead, strict=True))
    merged: list[Part] = []
    while kept:
        segment, dead = kept[-1]
        wasted = 2 * segment.count(dead) > segment.tokens
        if len(kept) < MAX_SEGMENTS and not wasted and segment.tokens >= tokens:
            break
        merged.insert(0, kept.pop())
        tokens += segment.tokens
    return kept, merged


def _live_files(segment: Segment, dead: frozenset[str]) -> Iterator[tuple[str, Ids]]:
    return ((path, segment.ids(i)) for i, path in enumerate(segment.paths) if path not in dead)


def _batches(entries: list[Entry]) -> Iterator[list[tuple[Entry, str]]]:
    batch: list[tuple[Entry, str]] = []
    characters = 0
    for entry in entries:
        batch.append((entry, entry.text))
        characters += len(batch[-1][1])
        if characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
