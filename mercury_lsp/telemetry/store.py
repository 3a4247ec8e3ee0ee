"""The history: what became of requests, kept on this machine in a file of SQLite.

Owns the file, its form, and how old it gets. A thread of its own writes, a few requests at a time; several servers may
write at once. Whatever is wrong with the file costs one warning and what would have been kept, nothing else. A row has
times, counts and names of a language, an editor and a model; never code, a path or a file's name.
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

if TYPE_CHECKING:
    import sqlite3

VERSION = 1  # of the table
DAY = 86_400  # seconds
SETTLED = 30.0  # seconds after which settings are taken to be the user's, and what they call old is deleted
GATHER = 1.0  # seconds that rows wait for others, to be written together
LOCKED = 10.0  # seconds that a writer waits for another
MOST = 10_000  # rows that wait, when the file cannot be written for a while
LONGEST = 60  # characters of a name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One request for a suggestion and what became of it. `moment`: seconds since 1970, when it was asked.

    `outcome`: a `acceptance.Kind`, or nothing, or continued: the rest of the suggestion before. `cause`: why nothing
    was suggested. `latency_ms`: from request to answer. `shown`, `accepted`: characters. `recalled`: answered from
    memory; then `tokens` and `passes` are those of when it was made.
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
        """The day where the user is, as year-month-day."""
        return time.strftime("%Y-%m-%d", time.localtime(self.moment))


_COLUMNS = tuple(field.name for field in fields(Event))
_TABLE = """
CREATE TABLE IF NOT EXISTS events (
    day TEXT, moment REAL, language TEXT, editor TEXT, model TEXT, invoked INTEGER, outcome TEXT, cause TEXT,
    latency_ms REAL, shown INTEGER, accepted INTEGER, tokens INTEGER, passes INTEGER, recalled INTEGER
);
CREATE INDEX IF NOT EXISTS events_moment ON events (moment);
"""


class Unreadable(Exception):
    """The file cannot be read; the message is a sentence."""


def state_file() -> Path:
    """Where the history is kept; it may not exist."""
    return paths.folder("state") / "history.sqlite3"


class History:
    """Writes to the history's file from a thread of its own, which starts with the first thing to do."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or state_file()
        self._days: int | None = None  # days that rows are kept; None: nothing is
        self._waiting: list[Event] = []
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._stop = self._warned = False
        self._forget_at = 0.0  # when what is old is to be deleted

    def configure(self, on: bool, days: int) -> None:
        """Keep rows for so many days from now on, or nothing. Deletes what is older."""
        with self._changed:
            self._days = days if on else None
            self._forget_at = time.time() + SETTLED
            if not on:
                self._waiting.clear()
            else:
                self._awake()

    def add(self, events: Sequence[Event]) -> None:
        """Keep events. Returns at once; what there is no room for is dropped."""
        with self._changed:
            if self._days is not None and events and len(self._waiting) < MOST:
                self._waiting.extend(events)
                self._awake()

    def close(self, timeout: float) -> None:
        """Write what there is, for so many seconds at most."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def _awake(self) -> None:
        if self._thread is None and not self._stop:
            # A daemon: a disk that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name="mercury-history", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stop or self._waiting, max(0, self._forget_at - time.time())
                )
                self._changed.wait_for(lambda: self._stop, GATHER)
                events, self._waiting = self._waiting, []
                days, stop = self._days, self._stop
            if days is None:
                self._forget_at = time.time() + DAY
            else:
                self._write(events, days)
            if stop:
                return

    def _write(self, events: Sequence[Event], days: int) -> None:
        """Write events and delete what is old. Once a warning is out, nothing of it is told again."""
        if forget := time.time() >= self._forget_at:
            self._forget_at = time.time() + DAY
        try:
            self._store(events, days if forget else None)
        except _Damaged as error:
            with self._warns():
                moved = _move_aside(self._file)
                self._warn(f"The history was damaged ({error}); it is kept as {moved.name}, and begun anew.")
                self._store(events, None)

    def _store(self, events: Sequence[Event], forget: int | None) -> None:
        """Store, more than once where another writer is just making the file."""
        with self._warns():
            for again in (True, True, False):
                try:
                    _store(self._file, events, forget)
                    return
                except OSError as error:
                    if not again or "locked" not in str(error):
                        raise
                time.sleep(GATHER)

    @contextmanager
    def _warns(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, Unreadable) as error:
            self._warn(f"The history cannot be written: {error}. Suggestions go on without it.")

    def _warn(self, sentence: str) -> None:
        log.log(logging.DEBUG if self._warned else logging.WARNING, "%s", sentence)
        self._warned = True


def read(days: int | None = None, file: Path | None = None) -> list[Event]:
    """The events of the last so many days, this one included, or all, the oldest first. Raises `Unreadable`."""
    file = file or state_file()
    if not file.exists():
        return []
    since = ""
    if days is not None:  # as far back as the clock goes, whatever is asked
        since = time.strftime("%Y-%m-%d", time.localtime(max(0, int(time.time()) - (days - 1) * DAY)))
    try:
        with _opened(file) as database:
            query = f"SELECT {', '.join(_COLUMNS)} FROM events WHERE day >= ? ORDER BY moment"
            return [_event(row) for row in database.execute(query, (since,))]
    except (OSError, _Damaged) as error:
        raise Unreadable(f"The history {file} cannot be read: {error}") from error


def clear(file: Path | None = None) -> int:
    """Delete all events, those in damaged files too; how many there were. Raises `Unreadable`."""
    file = file or state_file()
    if not file.exists():
        return 0
    try:
        for damaged in file.parent.glob(f"{file.name}.damaged*"):
            damaged.unlink()
        try:
            with _opened(file) as database:
                count: int = database.execute("DELETE FROM events").rowcount
                database.commit()
                database.execute("VACUUM")  # or else the rows' bytes stay in the file
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                return count
        except _Damaged:
            _move_aside(file).unlink()
            return 0
    except OSError as error:
        raise Unreadable(f"The history {file} cannot be deleted: {error}") from error


class _Damaged(Exception):
    """The file is not what we wrote."""


def _store(file: Path, events: Sequence[Event], forget: int | None) -> None:
    """Add events; delete what is older than so many days. Raises what `_opened` does."""
    if not events and not file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _opened(file, make=True) as database:
        if forget is not None:
            database.execute("DELETE FROM events WHERE moment < ?", (time.time() - forget * DAY,))
        columns = ("day", *_COLUMNS)
        insert = f"INSERT INTO events ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        database.executemany(insert, [(event.day, *astuple(event)) for event in events])
        database.commit()


@contextmanager
def _opened(file: Path, make: bool = False) -> Iterator[sqlite3.Connection]:
    """The database, for a moment: it may be deleted while nobody writes.

    Raises `OSError` where the disk is the matter, `_Damaged` where the file is, `Unreadable` where it is of a newer
    version of this program, or Python has no SQLite.
    """
    try:
        import sqlite3  # takes milliseconds that the server's start does not have
    except ImportError as error:
        raise Unreadable(f"this Python has no SQLite ({error})") from error
    try:
        if make and not file.exists():
            file.touch(mode=0o600)
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", LOCKED, uri=True)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise Unreadable(f"the history is of a newer version of this program ({version})")
            if version < VERSION:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"BEGIN IMMEDIATE; {_TABLE} PRAGMA user_version = {VERSION}; COMMIT;")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA secure_delete = ON")
            yield database
    except sqlite3.OperationalError as error:  # locked, full, read-only
        raise OSError(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise _Damaged(str(error)) from error


def _move_aside(file: Path) -> Path:
    """Rename a damaged file, and delete what belongs to it; the last such file is kept."""
    aside = file.with_name(f"{file.name}.damaged")
    for part in ("-wal", "-shm"):
        with suppress(OSError):
            file.with_name(file.name + part).unlink()
    os.replace(file, aside)
    return aside


def _event(row: Sequence[object]) -> Event:
    values = dict(zip(_COLUMNS, row, strict=True))
    values |= {name: bool(values[name]) for name in ("invoked", "recalled")}
    return Event(**values)  # type: ignore[arg-type]  # the table has no other types
