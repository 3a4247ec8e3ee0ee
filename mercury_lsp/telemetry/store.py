"""Stores the outcomes of requests in an SQLite file on this machine.

A thread of its own writes several requests at a time; several servers may write to the file at once. A failure of the
file costs one warning and the unwritten rows, nothing else. A row has times, counts and the names of a language, an
editor and a model; never code, a path or a file name.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from mercury_lsp import paths
from mercury_lsp.engine.system import context_thread
from mercury_lsp.errors import Failure

if TYPE_CHECKING:
    import sqlite3

SCHEMA_VERSION = 1
DAY_SECONDS = 86_400
# After this many seconds the options are taken to be final, and old rows may be deleted.
PRUNE_DELAY_SECONDS = 30.0
# The seconds that rows wait for further rows, to be written together.
BATCH_SECONDS = 1.0
# The seconds that a writer waits for another writer's lock.
LOCK_TIMEOUT_SECONDS = 10.0
# Further rows are dropped while the file cannot be written.
MAX_WAITING_ROWS = 10_000
MAX_NAME_CHARACTERS = 60

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """A request for a suggestion, and its outcome.

    `moment`: the time of the request in seconds since 1970. `outcome`: an `acceptance.Kind`, nothing, or continued (the
    rest of the previous suggestion). `cause`: the reason for an empty answer. `latency_ms`: the time from request to
    answer. `shown`, `accepted`: numbers of characters. `recalled`: answered from the cache; then `tokens` and `passes`
    are those of the original job.
    """

    moment: float
    language: str
    editor: str
    model: str
    invoked: bool
    outcome: str
    cause: str
    latency_ms: float
    shown: int
    accepted: int
    tokens: int
    passes: int
    recalled: bool

    @property
    def day(self) -> str:
        """The local day as year-month-day."""
        return time.strftime("%Y-%m-%d", time.localtime(self.moment))


_COLUMNS = tuple(field.name for field in fields(Event))
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    day TEXT, moment REAL, language TEXT, editor TEXT, model TEXT, invoked INTEGER, outcome TEXT, cause TEXT,
    latency_ms REAL, shown INTEGER, accepted INTEGER, tokens INTEGER, passes INTEGER, recalled INTEGER
);
CREATE INDEX IF NOT EXISTS events_moment ON events (moment);
"""


class HistoryError(Failure):
    """The history cannot be read; the message is one sentence."""


def history_file() -> Path:
    """Return the file of the history, which may not exist."""
    return paths.folder("state") / "history.sqlite3"


class History:
    """Writes to the history's file from a thread of its own, which starts at the first need."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or history_file()
        # Days for which rows are kept; 0 keeps no rows.
        self._days = 0
        self._queue: list[Event] = []
        self._thread: threading.Thread | None = None
        self._condition = threading.Condition()
        self._stop = self._warned = False
        # The time of the next deletion of old rows.
        self._prune_at = 0.0

    def configure(self, days: int) -> None:
        """Keep rows for ``days`` days from now on, and delete older rows; 0 records no new rows and deletes nothing."""
        with self._condition:
            self._days = days
            self._prune_at = time.time() + PRUNE_DELAY_SECONDS
            if days:
                self._wake_thread()
            else:
                self._queue.clear()

    def add(self, events: Sequence[Event]) -> None:
        """Queue events without waiting; drop them if the queue is full."""
        with self._condition:
            if self._days and events and len(self._queue) < MAX_WAITING_ROWS:
                self._queue.extend(events)
                self._wake_thread()

    def close(self, timeout: float) -> None:
        """Write the waiting events, within ``timeout`` seconds."""
        with self._condition:
            self._stop = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def _wake_thread(self) -> None:
        if self._thread is None and not self._stop:
            self._thread = context_thread(self._run, "mercury-history")
            self._thread.start()
        self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(
                    lambda: self._stop or self._queue, max(0, self._prune_at - time.time())
                )
                self._condition.wait_for(lambda: self._stop, BATCH_SECONDS)
                events, self._queue = self._queue, []
                days, stop = self._days, self._stop
            if days:
                self._write(events, days)
            else:
                self._prune_at = time.time() + DAY_SECONDS
            if stop:
                return

    def _write(self, events: Sequence[Event], days: int) -> None:
        """Write events and delete old ones; retry if the file is damaged or locked. Only the first problem warns."""
        if prune := time.time() >= self._prune_at:
            self._prune_at = time.time() + DAY_SECONDS
        try:
            for retry in (True, True, False):
                try:
                    _store_events(self._file, events, days if prune else None)
                    return
                except _DamagedFileError as error:
                    moved = _move_aside(self._file).name
                    self._warn(
                        f"The history was damaged ({error}); it is kept as {moved}, and a new one is begun."
                    )
                except OSError as error:
                    if not retry or "locked" not in str(error):
                        raise
                    time.sleep(BATCH_SECONDS)
        except (OSError, ValueError, HistoryError) as error:
            self._warn(f"The history cannot be written: {error}. Suggestions go on without it.")

    def _warn(self, sentence: str) -> None:
        log.log(logging.DEBUG if self._warned else logging.WARNING, "%s", sentence)
        self._warned = True


def read_events(days: int | None = None, file: Path | None = None) -> list[Event]:
    """Return the events of the last ``days`` days including today, or all, oldest first. Raises `HistoryError`."""
    file = file or history_file()
    if not file.exists():
        return []
    # A negative time may not be representable.
    first = 0 if days is None else max(0, int(time.time()) - (days - 1) * DAY_SECONDS)
    since = time.strftime("%Y-%m-%d", time.localtime(first))
    try:
        with _open_database(file) as database:
            query = f"SELECT {', '.join(_COLUMNS)} FROM events WHERE day >= ? ORDER BY moment"
            return [_parse_event(row) for row in database.execute(query, (since,))]
    except (OSError, _DamagedFileError) as error:
        raise HistoryError(f"The history {file} cannot be read: {error}") from error


def delete_events(file: Path | None = None) -> int:
    """Delete all events, and damaged files; return the number of events. Raises `HistoryError`."""
    file = file or history_file()
    if not file.exists():
        return 0
    try:
        for damaged in file.parent.glob(f"{file.name}.damaged*"):
            damaged.unlink()
        try:
            with _open_database(file) as database:
                count: int = database.execute("DELETE FROM events").rowcount
                database.commit()
                # Otherwise the rows' bytes stay in the file.
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                return count
        except _DamagedFileError:
            _move_aside(file).unlink()
            return 0
    except OSError as error:
        raise HistoryError(f"The history {file} cannot be deleted: {error}") from error


class _DamagedFileError(Exception):
    """The file is damaged."""


def _store_events(file: Path, events: Sequence[Event], keep_days: int | None) -> None:
    """Add events, and delete events older than ``keep_days`` days. Raises like `_open_database`."""
    if not events and not file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _open_database(file, create=True) as database:
        if keep_days is not None:
            database.execute("DELETE FROM events WHERE moment < ?", (time.time() - keep_days * DAY_SECONDS,))
        columns = ("day", *_COLUMNS)
        insert = f"INSERT INTO events ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        database.executemany(insert, [(event.day, *astuple(event)) for event in events])
        database.commit()


@contextmanager
def _open_database(file: Path, create: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the database for a moment, because the user may delete it between two writes.

    Raises `OSError` for a failure of the disk, `_DamagedFileError` for a damaged file, and `HistoryError` if the file
    is of a newer version, or if Python has no SQLite.
    """
    try:
        # Imported here, because the import would delay the server's start by milliseconds.
        import sqlite3
    except ImportError as error:
        raise HistoryError(f"this Python has no SQLite ({error})") from error
    try:
        if create and not file.exists():
            file.touch(mode=0o600)
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", LOCK_TIMEOUT_SECONDS, uri=True)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise HistoryError(f"the history is of a newer version of this program ({version})")
            if version < SCHEMA_VERSION:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                )
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA secure_delete = ON")
            yield database
    except sqlite3.OperationalError as error:
        # Locked, full or read-only.
        raise OSError(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise _DamagedFileError(str(error)) from error


def _move_aside(file: Path) -> Path:
    """Rename a damaged file, replacing an earlier damaged file, and delete its journals."""
    aside = file.with_name(f"{file.name}.damaged")
    for part in ("-wal", "-shm"):
        with suppress(OSError):
            file.with_name(file.name + part).unlink()
    os.replace(file, aside)
    return aside


def _parse_event(row: Sequence[object]) -> Event:
    values = dict(zip(_COLUMNS, row, strict=True))
    values |= {name: bool(values[name]) for name in ("invoked", "recalled")}
    return Event(**values)  # type: ignore[arg-type]  # the table has no other types
