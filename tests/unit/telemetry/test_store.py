"""Tests of the history file: stored rows, retention, and failures to write."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.recorded_events import event

from mercury_lsp.telemetry import store as history
from mercury_lsp.telemetry.store import (
    DAY_SECONDS,
    Event,
    History,
    HistoryError,
    delete_events,
    history_file,
    read_events,
)

PATIENCE = 60


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(history, "BATCH_SECONDS", 0.01)
    monkeypatch.setattr(history, "PRUNE_DELAY_SECONDS", 0.0)
    return tmp_path / "state" / "history.sqlite3"


def written(file: Path, *events: Event, days: int = 90) -> list[str]:
    """Write events in a separate session, and return the logged warnings."""
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    keep = Keep(logging.WARNING)
    logging.getLogger("mercury_lsp.telemetry.store").addHandler(keep)
    store = History(file)
    store.configure(days)
    for one in events:
        store.add([one])
    store.close(PATIENCE)
    logging.getLogger("mercury_lsp.telemetry.store").removeHandler(keep)
    return records


def wait_until(fulfilled: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not fulfilled():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("days", [10**9, 10**400], ids=["many", "more"])
def test_a_very_large_number_of_days_reads_all_events(file: Path, days: int) -> None:
    written(file, event())
    assert read_events(days, file) == read_events(file=file) != []


def test_written_events_are_read_back(file: Path) -> None:
    events = [event(language=language, invoked=language == "go") for language in ("go", "rust")]
    assert written(file, *events) == []
    assert read_events(file=file) == events
    assert read_events(1, file) == events
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_table_has_exactly_these_columns(file: Path) -> None:
    """No column can hold code or a path; a new column must be considered here."""
    written(file, event())
    with sqlite3.connect(file) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(events)")}
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert tables == {"events"}
    assert columns == {
        "day", "moment", "language", "editor", "model", "invoked", "outcome", "cause",
        "latency_ms", "shown", "accepted", "tokens", "passes", "recalled",
    }  # fmt: skip


def test_rows_are_written_while_the_server_runs(file: Path) -> None:
    store = History(file)
    store.configure(90)
    store.add([event()])
    wait_until(lambda: file.exists() and len(read_events(file=file)) == 1)
    store.add([event(), event()])
    wait_until(lambda: len(read_events(file=file)) == 3)
    store.close(PATIENCE)


def test_nothing_is_written_if_the_history_is_off(file: Path) -> None:
    written(file, event(), days=0)
    assert not file.parent.exists()
    store = History(file)
    store.add([event()])  # not configured yet
    store.close(PATIENCE)
    assert not file.parent.exists()


def test_no_file_is_created_without_events(file: Path) -> None:
    written(file)
    assert not file.parent.exists()


def test_old_events_are_deleted_when_a_server_starts(file: Path) -> None:
    old, young = event(moment=time.time() - 5 * DAY_SECONDS), event(moment=time.time() - 2 * DAY_SECONDS)
    written(file, old, young)
    assert len(read_events(file=file)) == 2
    assert read_events(4, file) == [young]
    written(file, days=0)
    assert len(read_events(file=file)) == 2  # turning the history off deletes nothing
    written(file, days=3)
    assert read_events(file=file) == [young]


def test_nothing_is_deleted_before_the_settings_are_final(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = event(moment=time.time() - 5 * DAY_SECONDS)
    written(file, old)
    monkeypatch.setattr(history, "PRUNE_DELAY_SECONDS", PATIENCE)
    written(file, event(), days=1)
    assert old in read_events(file=file)


def test_several_servers_can_write_at_the_same_time(file: Path) -> None:
    stores = [History(file) for _ in range(4)]
    for store in stores:
        store.configure(90)

    def write(store: History) -> None:
        for number in range(50):
            store.add([event(tokens=number)])
            time.sleep(0.001)
        store.close(PATIENCE)

    threads = [threading.Thread(target=write, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.tokens for one in read_events(file=file)) == sorted([*range(50)] * 4)


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 99, None])
def test_a_damaged_file_is_moved_aside_with_one_warning(file: Path, content: bytes | None) -> None:
    if content is None:  # a page in the middle is overwritten
        written(file, *[event(language="x" * 50)] * 500)
        whole = file.read_bytes()
        content = whole[:4096] + b"\xff" * (len(whole) - 4096)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    (warning,) = written(file, event())
    assert "damaged" in warning
    assert len(read_events(file=file)) == 1
    aside = file.with_name("history.sqlite3.damaged")
    assert aside.read_bytes() == content
    delete_events(file)
    assert not aside.exists() and read_events(file=file) == []


def test_a_python_without_sqlite_gives_one_warning(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    (warning,) = written(file, event(), event())
    assert "no SQLite" in warning
    monkeypatch.undo()
    assert written(file, event()) == []


def test_a_folder_that_cannot_be_created_gives_one_warning(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.parent.write_text("a file where the folder should be")
    store = History(file)
    store.configure(90)
    store.add([event()])
    wait_until(lambda: len(caplog.messages) == 1)
    store.add([event()])
    store.close(PATIENCE)
    (warning,) = caplog.messages
    assert "Suggestions go on" in warning


def test_a_file_that_cannot_be_written_gives_one_warning(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite reports full and read-only disks as `OperationalError`."""
    for sentence in ("database or disk is full", "attempt to write a readonly database", "disk I/O error"):

        def fail(*_: object, sentence: str = sentence, **__: object) -> None:
            raise sqlite3.OperationalError(sentence)

        monkeypatch.setattr(sqlite3, "connect", fail)
        (warning,) = written(file, event(), event())
        assert sentence in warning
        with pytest.raises(HistoryError, match=sentence):
            read_events(file=file)
        monkeypatch.undo()


@pytest.mark.integration
@pytest.mark.skipif(os.name != "posix", reason="only there a process can be forbidden to write")
def test_a_full_disk_gives_one_warning(tmp_path: Path) -> None:
    """Run in a process whose files may not grow, which SQLite treats as a full disk."""
    code = f"""
import logging, resource, signal, sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/unit/telemetry"]
from support.recorded_events import event
from test_store import written
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
print(len(written(Path({str(tmp_path / "history.sqlite3")!r}), event(), event())))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_a_locked_file_gives_one_warning_after_a_timeout(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(file, event())
    monkeypatch.setattr(history, "LOCK_TIMEOUT_SECONDS", 0.05)
    with sqlite3.connect(file, check_same_thread=False) as database:
        database.execute("BEGIN EXCLUSIVE")
        (warning,) = written(file, event())
        assert "locked" in warning
        database.rollback()
    assert written(file, event()) == [] and len(read_events(file=file)) == 2


def test_a_file_of_a_newer_version_is_not_changed(file: Path) -> None:
    written(file, event())
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 99")
    (warning,) = written(file, event())
    assert "newer version" in warning
    with pytest.raises(HistoryError, match="newer version"):
        read_events(file=file)
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (1,)


def test_a_cleared_history_is_empty_and_records_again(file: Path) -> None:
    assert delete_events(file) == 0
    written(file, event(language="a_word_to_look_for"), event())
    assert delete_events(file) == 2
    assert all(b"a_word_to_look_for" not in part.read_bytes() for part in file.parent.iterdir())
    assert written(file, event()) == [] and len(read_events(file=file)) == 1


def test_clearing_a_damaged_file_deletes_it(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"no database at all" * 99)
    assert delete_events(file) == 0
    assert list(file.parent.iterdir()) == []


def test_the_folder_of_the_history_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    assert history_file() == Path("/s/mercury-lsp/history.sqlite3").absolute()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    folders = {
        "linux": "/home/u/.local/state",
        "darwin": "/home/u/Library/Application Support",
        "win32": "/local",
    }
    for platform, folder in folders.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert history_file() == Path(folder, "mercury-lsp", "history.sqlite3")
