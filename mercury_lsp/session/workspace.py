"""Reads the workspace's files in the background, and hands them out as a `Library`.

Folders near the open documents are read first; nothing is read while the engine works, and nothing is parsed on the
thread that answers. What open documents tell others is in `OpenDocuments`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING

from mercury_lsp.context.background import Background
from mercury_lsp.context.retrieval.index import EMPTY, Entry, Library, read
from mercury_lsp.context.secrets import without
from mercury_lsp.session.distance import MAX_FILES, distance, making_room
from mercury_lsp.session.file_access import FileAccess, Files, Stamp, is_project
from mercury_lsp.session.open_documents import Open, OpenDocuments
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.context.memory.indexer import Indexer
    from mercury_lsp.context.memory.project import ProjectMemory
    from mercury_lsp.engine.tokenizer import Vocabulary

PUBLISH_SECONDS = 1.0
"""Between two libraries while files are read."""
RESCAN_SECONDS = 30.0
"""Between two looks at the disk: at the rules, some of which stand above the folders that an editor watches, and at all
files if the editor does not tell of changes."""
RULES, STYLES = (".gitignore", ".mercuryignore", ".git/info/exclude"), "/.editorconfig"


class Workspace(Background):
    """One client's workspace.

    ``rules``: is called from the thread when rules of ignoring have changed, after which documents must be admitted
    again.
    """

    name = "mercury-workspace"

    def __init__(self) -> None:
        super().__init__()
        self.rules: Callable[[], None] = lambda: None
        self.library = EMPTY  # as of now
        self.watched = False  # whether the editor tells of changes on the disk
        self._files = Files()
        self._limit = 0
        self._whole = True  # whether files are read that are not open
        self._opened = OpenDocuments()
        # By file; without a stamp, of an open document. The loop may drop entries while the thread goes through a copy.
        self._kept: dict[str, tuple[Entry, Stamp | None]] = {}
        self._bytes = 0  # of all entries
        self._touched: set[str] = set()
        self._heap: list[tuple[int, str]] = []  # folders to read, by their distance from the open documents
        self._queued: set[str] = set()
        self._seen: set[str] = set()
        self._full = False  # whether there is no room for what is further away
        self._fresh = False  # whether a walk is to begin
        self._recheck = False  # whether the rules have changed
        self._indexer: Indexer | None = None

    def configure(self, roots: Iterable[str], limit: int, whole: bool = True) -> bool:
        """Take the folders, as absolute paths, and how many bytes entries may take; with 0 there are none.

        If not the `whole`, only the open documents are read. Whether these are news, after which documents must be
        admitted again.
        """
        roots = tuple(root for root in roots if is_project(root))
        with self._changed:
            if (roots, limit, whole) == (self._files.roots, self._limit, self._whole):
                return False
            self._files, self._limit, self._whole = Files(roots), limit, whole
            self._recheck = self._fresh = True
            self._publish({})
            self._changed.notify_all()
        return True

    def close(self, timeout: float = 1.0) -> None:
        """End, after at most one file."""
        super().close(timeout)
        if self._indexer is not None:
            self._indexer.close(timeout)

    def index_with(self, vocabulary: Vocabulary | None) -> None:
        """Index the library's files for a model that has a memory, from now on; None for one that has none.

        For the worker's thread, where a model is loaded: the first time it imports numpy.
        """
        if vocabulary is not None and self._indexer is None and not self._stop:
            from mercury_lsp.context.memory.indexer import Indexer

            self._indexer = Indexer()
            self._indexer.busy = lambda: self.busy()
            self._indexer.guard = lambda doing: self.guard(doing)
            self._indexer.show = self._show_indexing
        if self._indexer is not None:
            self._indexer.encode_with(vocabulary)
            with self._changed:
                self._indexer.take(self.library.entries)

    @property
    def memory(self) -> ProjectMemory | None:
        """What the library's files have in them, as far as it is indexed by now; None before `index_with`."""
        return None if self._indexer is None else self._indexer.memory

    @property
    def idle(self) -> bool:
        """Whether all is read that there is to read, and indexed."""
        with self._changed:
            resting = self._resting and not self._has_work()
        return resting and (self._indexer is None or self._indexer.idle)

    def examine(self, file: str) -> FileAccess:
        """What may be done with a document. Reads files: not on the thread that answers."""
        return self._files.access(file)

    def open(self, document: Document, file: str) -> None:
        """Take a document; "" for `file` if it is no file. Until it is admitted, no other document uses it."""
        with self._changed:
            self._opened.take(document, file)

    def admit(self, uri: str, inside: bool) -> None:
        """Note whether a document may be used in others."""
        with self._changed:
            if (there := self._opened.admit(uri, inside)) is not None:
                if not inside:
                    self._drop([there.file])
                    self._publish({})
                # Else it may be in a part of the workspace that has not been read.
                self._fresh |= not inside or there.file not in self._kept
                self._publish()
                self._changed.notify_all()

    def change(self, document: Document) -> None:
        """Take a document's new text."""
        with self._changed:
            self._opened.change(document)

    def forget(self, uri: str) -> None:
        """Forget an open document: from here on, what counts is the file."""
        with self._changed:
            if (there := self._opened.close(uri)) is not None:
                self._touched.add(there.file)
                self._publish()
                self._changed.notify_all()

    def used(self, uri: str) -> Library:
        """The library as of now, for a document that is worked on. Other ones with changes are read again soon."""
        with self._changed:
            if self._opened.use(uri):
                self._publish()
                self._changed.notify_all()
            return self.library

    def touch(self, paths: Iterable[str]) -> bool:
        """Files that have been made, changed or deleted. Whether documents must be looked at again because of them."""
        paths = list(paths)
        rules, styles = (any(path.endswith(names) for path in paths) for names in (RULES, STYLES))
        with self._changed:
            if rules or styles:
                self._files.forget()
            if rules:
                self._recheck = self._fresh = True
                self._publish({})  # nothing, until it is known what may be used
            self._touched.update(paths)
            self._changed.notify_all()
        return rules or styles

    def _work(self, due: bool) -> None:
        with self.guard("reading the workspace"):
            if not due:
                self._look_again()
            self._read_all()

    def _interval_seconds(self) -> float:
        return RESCAN_SECONDS

    def _has_work(self) -> bool:
        return self._fresh or self._recheck or bool(self._touched) or self._stale() is not None

    def _stale(self) -> Open | None:
        return self._opened.next_stale() if self._limit else None

    def _look_again(self) -> None:
        changed = self._files.refresh()
        if changed:
            self._recheck = True
            with self._changed:
                self._publish({})
            self.rules()
        self._fresh |= changed or not self.watched

    def _read_all(self) -> None:
        """All there is to do now; whatever is more urgent comes in between."""
        published = time.monotonic()
        with self._progress() as tell:
            try:
                while not self._stop and (self._urgent() or self._step()):
                    if time.monotonic() - published > PUBLISH_SECONDS:
                        published = time.monotonic()
                        self._publish_all()
                    tell((len(self._queued) - len(self._heap)) / max(1, len(self._queued)))
            finally:
                self._publish_all()

    def _urgent(self) -> bool:
        """Do one thing that is more urgent than reading on. Whether there was any."""
        if self._recheck:
            self._recheck = False
            self._files.forget()
            self._drop([file for file in list(self._kept) if not self._may_be_read(file)])
            return True
        if (there := self._stale()) is not None:
            there.stale = False
            self._keep(there.file, there.document.path, there.document.text, None)
            return True
        with self._changed:
            file = self._touched.pop() if self._touched else None
        if file is None:
            return False
        # A walk that listed its folder before drops what it has not seen.
        self._seen.add(file)
        self._read(file)
        if file not in self._kept:
            below = [other for other in list(self._kept) if other.startswith(f"{file}/")]
            self._drop([other for other in below if not Path(other).exists()])
        return True

    def _step(self) -> bool:
        """Read one folder. Whether there was any."""
        if self._fresh:
            self._fresh = False
            self._begin()
        if not self._heap:
            return False
        steps_away, folder = heappop(self._heap)
        files, folders = self._files.inside_of(folder)
        for file in files:
            if self._stop or self._fresh or self._recheck:
                break
            self._seen.add(file)
            if not self._read(file, steps_away):
                self._heap.clear()
                self._full = True
                break
            while self._urgent():
                pass
        for inner in folders if not self._full else ():
            self._queue(inner)
        if not (self._heap or self._fresh or self._recheck or self._full or self._stop):
            unseen = [file for file in list(self._kept) if file not in self._seen]
            self._drop([file for file in unseen if not self._opened.holds(file)])
        return True

    def _begin(self) -> None:
        """Begin with the folders of the open documents, those around them, and the roots."""
        self._heap, self._queued, self._seen, self._full = [], set(), set(), False
        if not self._limit or not self._whole:
            self._drop([file for file in list(self._kept) if not self._limit or not self._opened.holds(file)])
            return
        for folder in (*self._files.roots, *self._opened.folders):
            if self._files.reaches(folder):
                while folder not in self._files.roots:
                    self._queue(folder)
                    folder = folder.rpartition("/")[0] or "/"
                self._queue(folder)
        heapify(self._heap)

    def _queue(self, folder: str) -> None:
        if folder not in self._queued:
            self._queued.add(folder)
            heappush(self._heap, (distance(folder, self._opened.folders), folder))

    def _read(self, file: str, steps_away: int | None = None) -> bool:
        """Take a file's entry, or forget it. False where there is no more room for such a distance."""
        if self._opened.holds(file):
            return True  # its text is the editor's
        _, known = self._kept.get(file, (None, None))
        content = self._files.read(file, known) if self._may_be_read(file) else None
        if content is None or not self._limit or not self._whole:
            self._drop([file])
            return True
        stamp, text = content
        if stamp == known:
            return True
        self._wait_for_engine()
        return self._keep(file, self._files.name(file), text, stamp, steps_away)

    def _may_be_read(self, file: str) -> bool:
        folder = file.rpartition("/")[0] or "/"
        return self._files.reaches(folder) and self._files.wants(file)

    def _keep(
        self, file: str, path: str, text: str, stamp: Stamp | None, steps_away: int | None = None
    ) -> bool:
        """Keep a file's entry. Those further from the open documents make room; False where that is not enough."""
        entry = read(path, without(text))
        self._drop([file])
        if self._bytes + entry.size > self._limit or len(self._kept) >= MAX_FILES:
            sizes = {other: own.size for other, (own, _) in list(self._kept.items())}
            folders = self._opened.folders
            away = distance(file.rpartition("/")[0], folders) if steps_away is None else steps_away
            further = making_room(sizes, entry.size, self._limit, away, folders)
            if further is None:
                return False
            self._drop(further)
        with self._changed:
            # An open document may have been closed meanwhile, or it is ignored now.
            if stamp is not None or self._opened.holds(file):
                self._kept[file] = entry, stamp
                self._bytes += entry.size
        return True

    def _drop(self, files: Iterable[str]) -> None:
        with self._changed:
            for file in files:
                if (known := self._kept.pop(file, None)) is not None:
                    self._bytes -= known[0].size

    def _publish_all(self) -> None:
        with self._changed:
            if not self._recheck:
                entries = {entry.path: entry for entry, _ in self._kept.values()}
                if list(entries.values()) != list(self.library.entries.values()):
                    self._publish(entries)

    def _publish(self, entries: dict[str, Entry] | None = None) -> None:
        self.library = Library(self.library.entries if entries is None else entries, self._opened.paths)
        if self._indexer is not None:
            self._indexer.take(self.library.entries)

    def _show_indexing(self, fraction: float | None) -> None:
        """Tell how much is indexed, unless files are read, of which the same user is told."""
        if fraction is None or self._resting:
            self.show(fraction)
