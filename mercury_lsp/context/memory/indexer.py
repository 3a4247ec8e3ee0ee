"""Keeps the project memory up to date, in a thread that lets everything else go first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from mercury_lsp.context.memory.project import EMPTY, ProjectMemory
from mercury_lsp.context.memory.segment import Ids, Segment, dtype_for
from mercury_lsp.context.retrieval.index import Entry
from mercury_lsp.engine.system import lower_priority
from mercury_lsp.engine.tokenizer import Vocabulary

NICE = 15
"""How far the thread stands back behind other programs, where threads can."""
ENGINE_WAIT_SECONDS = 5.0
"""How long indexing waits for the engine at most, from one batch to the next."""
POLL_SECONDS = 0.02
SHOWN_AFTER_SECONDS = 1.0
"""Indexing that takes longer is shown to the user."""
BATCH = 128_000
"""Characters that are encoded at once, between two looks at the engine."""
SEGMENT = 1_000_000
"""Characters of a segment while much is indexed: as soon as one is done it is used."""
SEGMENTS = 3
"""Most segments, each of which is searched for each token. Each but the last is larger than those after it."""


class Indexer:
    """The memory of one workspace. Its thread starts with the first vocabulary."""

    def __init__(
        self,
        busy: Callable[[], bool] = lambda: False,
        show: Callable[[float | None], None] = lambda fraction: None,
        guard: Callable[[str], AbstractContextManager[None]] = lambda doing: nullcontext(),
    ) -> None:
        """busy: whether the engine works. show: is told, from the thread, which part of a longer indexing is done, and
        None at its end. guard: around all that the thread does."""
        self.busy, self.show, self.guard = busy, show, guard
        self._entries: Mapping[str, Entry] = {}  # what is to be in the memory
        self._vocabulary: Vocabulary | None = None
        self._indexed: dict[str, Entry] = {}  # what is in its segments, alive
        self._memory = EMPTY
        self._resting = self._stop = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def encode_with(self, vocabulary: Vocabulary | None) -> None:
        """Index for a model's vocabulary from now on; for none, nothing is kept."""
        with self._changed:
            if vocabulary is self._vocabulary or self._stop:
                return
            self._vocabulary = vocabulary
            self._memory, self._indexed = ProjectMemory(vocabulary=vocabulary), {}
            if self._thread is None and vocabulary is not None:
                # A daemon: nothing must keep the process from ending.
                self._thread = threading.Thread(target=self._run, name="mercury-indexer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def take(self, entries: Mapping[str, Entry]) -> None:
        """Index these files, in this order. What is no longer among them, or is another, is out of the memory at once.

        The mapping must not change afterwards.
        """
        with self._changed:
            if entries is not self._entries:
                self._entries = entries
                self._forget()
                self._changed.notify_all()

    @property
    def memory(self) -> ProjectMemory:
        """What is indexed by now of the files as they are now."""
        return self._memory

    @property
    def idle(self) -> bool:
        """Whether everything is indexed."""
        with self._changed:
            return self._vocabulary is None or (self._resting and not self._has_work())

    def close(self, timeout: float = 1.0) -> None:
        """End, after at most one batch."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def _forget(self) -> None:
        gone = [path for path, entry in self._indexed.items() if self._entries.get(path) is not entry]
        if gone:
            for path in gone:
                del self._indexed[path]
            self._memory = self._memory.without(gone)

    def _run(self) -> None:
        with self.guard("standing back"):
            lower_priority(NICE)
        while not self._stop:
            with self._changed:
                self._resting = True
                self._changed.wait_for(self._has_work)
                self._resting = False
            done = False
            with self.guard("indexing the workspace"):
                self._index()
                done = True
            if not done:
                # Nothing is tried again and again: the next model's vocabulary is the next try.
                self.encode_with(None)

    def _has_work(self) -> bool:
        return self._stop or (self._vocabulary is not None and next(self._missing(), None) is not None)

    def _missing(self) -> Iterator[Entry]:
        return (entry for path, entry in self._entries.items() if self._indexed.get(path) is not entry)

    def _index(self) -> None:
        """Index what is missing, segment by segment."""
        begun, shown = time.monotonic(), False
        try:
            while not self._stop:
                with self._changed:
                    vocabulary, entries = self._vocabulary, list(self._missing())
                if vocabulary is None or not entries:
                    break
                self._add(vocabulary, self._encoded(vocabulary, entries))
                if time.monotonic() - begun > SHOWN_AFTER_SECONDS:
                    shown = True
                    self.show(len(self._indexed) / max(1, len(self._entries)))
        finally:
            if shown:
                self.show(None)

    def _encoded(self, vocabulary: Vocabulary, entries: list[Entry]) -> list[tuple[Entry, Ids]]:
        """The first entries, as many as fill a segment, and their ids."""
        dtype = dtype_for(vocabulary.size)
        encoded: list[tuple[Entry, Ids]] = []
        characters = 0
        for batch in _batches(entries):
            self._wait()
            if self._stop or vocabulary is not self._vocabulary or characters > SEGMENT:
                break
            texts = [text for _, text in batch]
            for (entry, _), ids in zip(batch, vocabulary.encode_all(texts), strict=True):
                encoded.append((entry, np.array(ids, dtype)))
            characters += sum(map(len, texts))
        return encoded

    def _add(self, vocabulary: Vocabulary, encoded: list[tuple[Entry, Ids]]) -> None:
        """Make a segment of some entries, and fewer of all segments where there are too many."""
        with self._changed:
            encoded = [(entry, ids) for entry, ids in encoded if self._entries.get(entry.path) is entry]
            before = self._memory
        if not encoded or before.vocabulary is not vocabulary:
            return
        kept, merged = _to_merge(before, sum(len(ids) for _, ids in encoded))
        files = [pair for segment, dead in merged for pair in _alive(segment, dead)]
        files += [(entry.path, ids) for entry, ids in encoded]
        segment = Segment.build(files, dtype_for(vocabulary.size))
        with self._changed:
            if self._vocabulary is not vocabulary:
                return
            # What became dead while this was sorted must stay so.
            paths = {path for path, entry in self._indexed.items()}
            paths |= {entry.path for entry, _ in encoded if self._entries.get(entry.path) is entry}
            masks = dict(zip(map(id, self._memory.segments), self._memory.dead, strict=True))
            segments = (*(part for part, _ in kept), segment)
            dead = (*(masks[id(part)] for part, _ in kept), frozenset(segment.paths) - paths)
            self._memory = ProjectMemory(segments, dead, vocabulary)
            self._indexed |= {
                entry.path: entry for entry, _ in encoded if self._entries.get(entry.path) is entry
            }

    def _wait(self) -> None:
        """Let the engine finish."""
        until = time.monotonic() + ENGINE_WAIT_SECONDS
        while self.busy() and not self._stop and time.monotonic() < until:
            time.sleep(POLL_SECONDS)


Part = tuple[Segment, frozenset[str]]


def _to_merge(memory: ProjectMemory, tokens: int) -> tuple[list[Part], list[Part]]:
    """The segments that stay as they are beside a new one with so many tokens, and those that become part of it."""
    kept = list(zip(memory.segments, memory.dead, strict=True))
    merged: list[Part] = []
    while kept:
        segment, dead = kept[-1]
        wasted = 2 * segment.count(dead) > segment.tokens
        if len(kept) < SEGMENTS and not wasted and segment.tokens >= tokens:
            break
        merged.insert(0, kept.pop())
        tokens += segment.tokens
    return kept, merged


def _alive(segment: Segment, dead: frozenset[str]) -> Iterator[tuple[str, Ids]]:
    return ((path, segment.ids(i)) for i, path in enumerate(segment.paths) if path not in dead)


def _batches(entries: list[Entry]) -> Iterator[list[tuple[Entry, str]]]:
    """Entries and their texts, in batches."""
    batch: list[tuple[Entry, str]] = []
    characters = 0
    for entry in entries:
        batch.append((entry, entry.text))
        characters += len(batch[-1][1])
        if characters > BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
