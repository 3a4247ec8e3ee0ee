"""Reads the workspace's files in the background, and publishes them as a `Library`.

Folders near the open documents are read first. Nothing is read while the engine works, and nothing is parsed on the
event loop's thread. `OpenDocuments` keeps the open documents that others may use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING

from mercury_lsp.context.background import Background
from mercury_lsp.context.retrieval.index import EMPTY, Entry, Library, read
from mercury_lsp.context.secrets import blank_secrets
from mercury_lsp.session.distance import MAX_FILES, distance, files_to_drop
from mercury_lsp.session.file_access import FileAccess, Files, Stamp, is_project
from mercury_lsp.session.open_documents import OpenDocument, OpenDocuments
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.context.memory.indexer import Indexer
    from mercury_lsp.context.memory.project import ProjectMemory
    from mercury_lsp.engine.tokenizer import Vocabulary

PUBLISH_SECONDS = 1.0
"""The time between two published libraries while files are read."""
RESCAN_SECONDS = 30.0
"""The time between two checks of the disk.

Rules are checked, because some lie above the folders that an editor watches, and all files if the editor does not
report changes."""
RULES, STYLES = (".gitignore", ".mercuryignore", ".git/info/exclude"), "/.editorconfig"


class Workspace(Background):
    """The workspace of one client.

    ``on_rules_changed`` is called from the workspace's thread after a change of ignore rules; documents must then be
    admitted again.
    """

    name = "mercury-workspace"

    def __init__(self) -> None:
        super().__init__()
        self.on_rules_changed: Callable[[], None] = lambda: None
        # The entries that are published now.
        self.library = EMPTY
        # Whether the editor reports changes on disk.
        self.watched = False
        self._files = Files()
        self._limit = 0
        # Whether files that are not open are read.
        self._all_files = True
        self._open_documents = OpenDocuments()
        # Entries and stamps by file; the stamp of an open document is None. The event loop may drop entries while the
        # thread iterates over a copy.
        self._kept: dict[str, tuple[Entry, Stamp | None]] = {}
        # The size of all entries in bytes.
        self._bytes = 0
        self._touched: set[str] = set()
        # Folders to read, by their distance from the open documents.
        self._folder_queue: list[tuple[int, str]] = []
        self._queued: set[str] = set()
        self._seen: set[str] = set()
        # Whether there is no room for files that are further away.
        self._full = False
        # Whether a new walk is due.
        self._walk_due = False
        # Whether rules have changed, so that the kept files must be checked again.
        self._recheck = False
        self._indexer: Indexer | None = None

    def configure(self, roots: Iterable[str], limit: int, whole: bool = True) -> bool:
        """Set the folders, as absolute paths, and the limit of the entries' size in bytes; with 0 there are no entries.

        If `whole` is false, only open documents are used. Return whether anything has changed; documents must then be
        admitted again.
        """
        roots = tuple(root for root in roots if is_project(root))
        with self._changed:
            if (roots, limit, whole) == (self._files.roots, self._limit, self._all_files):
                return False
            self._files, self._limit, self._all_files = Files(roots), limit, whole
            self._walk_due = True
            self._reset_access()
            self._changed.notify_all()
        return True

    def close(self, timeout: float = 1.0) -> None:
        """Stop the threads after the current piece of work, waiting up to ``timeout`` seconds for each."""
        super().close(timeout)
        if self._indexer is not None:
            self._indexer.close(timeout)

    def index_with(self, vocabulary: Vocabulary | None) -> None:
        """Index the library's files from now on for a model with a project memory; None for a model without one.

        To be called from the worker's thread, where a model is loaded: the first call imports numpy.
        """
        if vocabulary is not None and self._indexer is None and not self._stop:
            from mercury_lsp.context.memory.indexer import Indexer

            self._indexer = Indexer()
            self._indexer.busy = lambda: self.busy()
            self._indexer.guard = lambda doing: self.guard(doing)
            self._indexer.show = self._show_indexing
        if self._indexer is not None:
            self._indexer.set_vocabulary(vocabulary)
            with self._changed:
                self._indexer.set_entries(self.library.entries)

    @property
    def memory(self) -> ProjectMemory | None:
        """The project memory of what is indexed so far; None before `index_with` gets a vocabulary."""
        return None if self._indexer is None else self._indexer.memory

    @property
    def idle(self) -> bool:
        """Whether all files are read and indexed."""
        with self._changed:
            resting = self._resting and not self._has_work()
        return resting and (self._indexer is None or self._indexer.idle)

    def check_access(self, file: str) -> FileAccess:
        """Return how a document may be used. Reads files, so it must not be called on the event loop's thread."""
        return self._files.access(file)

    def open(self, document: Document, file: str) -> None:
        """Add a document; `file` is "" if it has none. No other document uses it until it is admitted."""
        with self._changed:
            self._open_documents.add(document, file)

    def admit(self, uri: str, inside: bool) -> None:
        """Note whether other documents may use a document."""
        with self._changed:
            if (opened := self._open_documents.admit(uri, inside)) is not None:
                if not inside:
                    self._drop([opened.file])
                    self._publish({})
                # The file may lie in a part of the workspace that has not been read.
                self._walk_due |= not inside or opened.file not in self._kept
                self._publish()
                self._changed.notify_all()

    def change(self, document: Document) -> None:
        """Replace an open document with its new version."""
        with self._changed:
            self._open_documents.change(document)

    def forget(self, uri: str) -> None:
        """Forget an open document: from now on the file on disk counts."""
        with self._changed:
            if (opened := self._open_documents.close(uri)) is not None:
                if opened.file:
                    self._touched.add(opened.file)
                self._publish()
                self._changed.notify_all()

    def use(self, uri: str) -> Library:
        """Return the current library for a document that is being edited. Other changed documents are updated soon."""
        with self._changed:
            if self._open_documents.use(uri):
                self._publish()
                self._changed.notify_all()
            return self.library

    def reread(self, paths: Iterable[str]) -> bool:
        """Reread files that were created, changed or deleted. Return whether documents must be checked again."""
        paths = list(paths)
        rules, styles = (any(path.endswith(names) for path in paths) for names in (RULES, STYLES))
        with self._changed:
            if rules or styles:
                self._files.forget()
            if rules:
                self._walk_due = True
                self._reset_access()
            self._touched.update(paths)
            self._changed.notify_all()
        return rules or styles

    def _work(self, due: bool) -> None:
        with self.guard("reading the workspace"):
            if not due:
                self._rescan()
            self._read_all()

    def _interval_seconds(self) -> float:
        return RESCAN_SECONDS

    def _has_work(self) -> bool:
        return self._walk_due or self._recheck or bool(self._touched) or self._stale() is not None

    def _stale(self) -> OpenDocument | None:
        return self._open_documents.next_stale() if self._limit else None

    def _rescan(self) -> None:
        changed = self._files.refresh()
        if changed:
            with self._changed:
                self._reset_access()
            self.on_rules_changed()
        self._walk_due |= changed or not self.watched

    def _reset_access(self) -> None:
        """Publish nothing until it is known which files may be used, and which open documents. `_changed` is held."""
        self._recheck = True
        self._open_documents.reset_access()
        # The entries of open documents come back when these are admitted.
        self._drop([file for file, (_, stamp) in self._kept.items() if stamp is None])
        self._publish({})

    def _read_all(self) -> None:
        """Do all pending work; more urgent work comes in between."""
        published = time.monotonic()
        with self._progress() as tell:
            try:
                while not self._stop and (self._do_urgent_work() or self._walk_step()):
                    if time.monotonic() - published > PUBLISH_SECONDS:
                        published = time.monotonic()
                        self._publish_all()
                    tell((len(self._queued) - len(self._folder_queue)) / max(1, len(self._queued)))
            finally:
                self._publish_all()

    def _do_urgent_work(self) -> bool:
        """Do one piece of work that is more urgent than walking on, and return whether there was any."""
        if self._recheck:
            self._recheck = False
            self._files.forget()
            on_disk = [file for file, (_, stamp) in list(self._kept.items()) if stamp is not None]
            self._drop([file for file in on_disk if not self._may_be_read(file)])
            return True
        if (opened := self._stale()) is not None:
            opened.stale = False
            self._keep(opened.file, opened.document.path, opened.document.text, None)
            return True
        with self._changed:
            file = self._touched.pop() if self._touched else None
        if file is None:
            return False
        # A walk that listed the folder before the file was created would drop it as unseen.
        self._seen.add(file)
        self._read(file)
        if file not in self._kept:
            below = [other for other in list(self._kept) if other.startswith(f"{file}/")]
            gone = [other for other in below if not Path(other).exists()]
            self._drop([other for other in gone if not self._open_documents.holds(other)])
        return True

    def _walk_step(self) -> bool:
        """Read one folder of the walk, and return whether there was any."""
        if self._walk_due:
            self._walk_due = False
            self._start_walk()
        if not self._folder_queue:
            return False
        steps_away, folder = heappop(self._folder_queue)
        files, folders = self._files.list_folder(folder)
        for file in files:
            if self._stop or self._walk_due or self._recheck:
                break
            self._seen.add(file)
            if not self._read(file, steps_away):
                self._folder_queue.clear()
                self._full = True
                break
            while self._do_urgent_work():
                pass
        for inner in folders if not self._full else ():
            self._queue(inner)
        if not (self._folder_queue or self._walk_due or self._recheck or self._full or self._stop):
            unseen = [file for file in list(self._kept) if file not in self._seen]
            self._drop([file for file in unseen if not self._open_documents.holds(file)])
        return True

    def _start_walk(self) -> None:
        """Start a walk with the roots, the folders of the open documents and the folders around those."""
        self._folder_queue, self._queued, self._seen, self._full = [], set(), set(), False
        if not self._limit or not self._all_files:
            self._drop(
                [file for file in list(self._kept) if not self._limit or not self._open_documents.holds(file)]
            )
            return
        for folder in (*self._files.roots, *self._open_documents.folders):
            if self._files.walk_reaches(folder):
                while folder not in self._files.roots:
                    self._queue(folder)
                    folder = folder.rpartition("/")[0] or "/"
                self._queue(folder)
        heapify(self._folder_queue)

    def _queue(self, folder: str) -> None:
        if folder not in self._queued:
            self._queued.add(folder)
            heappush(self._folder_queue, (distance(folder, self._open_documents.folders), folder))

    def _read(self, file: str, steps_away: int | None = None) -> bool:
        """Update or drop a file's entry. Return False if there is no room at its distance."""
        if self._open_documents.holds(file):
            # The editor's text counts.
            return True
        _, known = self._kept.get(file, (None, None))
        content = self._files.read(file, known) if self._may_be_read(file) else None
        if content is None or not self._limit or not self._all_files:
            self._drop([file])
            return True
        stamp, text = content
        if stamp == known:
            return True
        self._wait_for_engine()
        return self._keep(file, self._files.name(file), text, stamp, steps_away)

    def _may_be_read(self, file: str) -> bool:
        folder = file.rpartition("/")[0] or "/"
        return self._files.walk_reaches(folder) and self._files.should_read(file)

    def _keep(
        self, file: str, path: str, text: str, stamp: Stamp | None, steps_away: int | None = None
    ) -> bool:
        """Keep a file's entry, dropping entries further from the open documents. Return False if there is no room."""
        entry = read(path, blank_secrets(text))
        self._drop([file])
        if self._bytes + entry.size > self._limit or len(self._kept) >= MAX_FILES:
            sizes = {other: own.size for other, (own, _) in list(self._kept.items())}
            folders = self._open_documents.folders
            away = distance(file.rpartition("/")[0], folders) if steps_away is None else steps_away
            further = files_to_drop(sizes, entry.size, self._limit, away, folders)
            if further is None:
                return False
            self._drop(further)
        with self._changed:
            # An open document may have been closed meanwhile, or may be ignored now.
            if stamp is not None or self._open_documents.holds(file):
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
        self.library = Library(
            self.library.entries if entries is None else entries, self._open_documents.paths
        )
        if self._indexer is not None:
            self._indexer.set_entries(self.library.entries)

    def _show_indexing(self, fraction: float | None) -> None:
        """Show which fraction is indexed, unless files are being read: then the user sees that progress."""
        if fraction is None or self._resting:
            self.show(fraction)
