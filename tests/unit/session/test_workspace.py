"""Tests of the workspace on a real disk: which files are read, in which order, which are kept, and changes."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, ItemsView, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_file_access import put

from mercury_lsp.context import background
from mercury_lsp.session import workspace as module
from mercury_lsp.session.file_access import Files
from mercury_lsp.session.workspace import Workspace
from mercury_lsp.syntax.document import Document

MEGABYTE = 2**20
SOURCE = "def {name}(value):\n    return value\n"


def wait_until(fulfilled: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not fulfilled():
        assert time.monotonic() < end, "the condition was never fulfilled"
        time.sleep(0.005)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose editor reports changes, so that it polls only rules."""
    there = Workspace()
    there.watched = True
    yield there
    there.close(60)


def begin(there: Workspace, root: Path, limit: int = MEGABYTE) -> None:
    there.configure([str(root)], limit)
    there.start()
    wait_until_read(there)


def wait_until_read(there: Workspace) -> None:
    """Wait until the whole workspace is read."""
    wait_until(lambda: there.idle)


def open_document(there: Workspace, file: Path, text: str | None = None) -> Document:
    uri = f"file://{file}"
    content = text if text is not None else file.read_text()
    document = Document(uri, str(file).rpartition("/w/")[2], "python", 1, content)
    there.open(document, str(file))
    there.admit(uri, there.check_access(str(file)).inside)
    return document


def files_with(there: Workspace, text: str) -> list[str]:
    """Return the files in the library whose text contains `text`."""
    return [path for path, entry in there.library.entries.items() if text in entry.text]


def test_all_source_files_are_read(tmp_path: Path, workspace: Workspace) -> None:
    for name in ("a", "lib/b", "lib/deep/c"):
        put(tmp_path / f"w/{name}.py", SOURCE.format(name=name.rpartition("/")[2] + "_function"))
    begin(workspace, tmp_path / "w")
    assert set(workspace.library.entries) == {"a.py", "lib/b.py", "lib/deep/c.py"}
    assert files_with(workspace, "def c_function") == ["lib/deep/c.py"]


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_folder_with_an_invalid_name_does_not_affect_the_others(
    name: str, tmp_path: Path, workspace: Workspace
) -> None:
    put(tmp_path / "w/a.py")
    workspace.configure([f"{tmp_path}/{name}", str(tmp_path / "w")], MEGABYTE)
    while workspace._do_urgent_work() or workspace._walk_step():
        pass
    assert [Path(file).name for file in workspace._kept] == ["a.py"]


def test_nothing_is_read_without_folders_or_if_the_memory_limit_is_zero(
    tmp_path: Path, workspace: Workspace
) -> None:
    put(tmp_path / "w/a.py")
    begin(workspace, tmp_path / "w", limit=0)
    assert workspace.library.entries == {}
    workspace.configure([], MEGABYTE)
    wait_until_read(workspace)
    assert workspace.library.entries == {}


def test_only_open_documents_are_read_if_the_whole_workspace_is_not_needed(
    tmp_path: Path, workspace: Workspace
) -> None:
    root = tmp_path / "w"
    for name in "abc":
        put(root / f"{name}.py")
    workspace.configure([str(root)], MEGABYTE, whole=False)
    workspace.start()
    open_document(workspace, root / "a.py")
    open_document(workspace, root / "b.py")
    workspace.use(f"file://{root}/b.py")
    wait_until_read(workspace)
    workspace.reread([str(root / "c.py")])
    wait_until_read(workspace)
    assert set(workspace.library.entries) == {"a.py"}  # b.py is the document in use
    workspace.configure([str(root)], MEGABYTE, whole=True)
    wait_until_read(workspace)
    assert {"a.py", "c.py"} <= set(workspace.library.entries)
    workspace.configure([str(root)], MEGABYTE, whole=False)
    wait_until_read(workspace)
    assert "c.py" not in workspace.library.entries
    workspace.forget(f"file://{root}/a.py")
    wait_until_read(workspace)
    assert "a.py" not in workspace.library.entries


def test_the_home_folder_and_drive_roots_are_not_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    there = Workspace()
    there.configure(["/", str(tmp_path / "home"), str(tmp_path / "home/me/"), "C:/", "C:"], MEGABYTE)
    assert there._files.roots == ()
    there.configure([str(tmp_path / "home/me/project"), "C:/project"], MEGABYTE)
    assert len(there._files.roots) == 2


def test_changed_new_and_deleted_files_are_read_again(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    put(root / "a.py", SOURCE.format(name="old"))
    put(root / "gone/b.py")
    begin(workspace, root)
    put(root / "a.py", SOURCE.format(name="renewed"))
    put(root / "new.py")
    (root / "gone/b.py").unlink()
    workspace.reread([str(root / name) for name in ("a.py", "new.py", "gone")])
    wait_until(lambda: set(workspace.library.entries) == {"a.py", "new.py"})
    wait_until_read(workspace)
    assert (files_with(workspace, "def old"), files_with(workspace, "def renewed")) == ([], ["a.py"])


def test_files_that_become_ignored_are_dropped_at_once(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    put(root / "lib/b.py")
    begin(workspace, root)
    put(root / "lib/.gitignore", "*.py")
    assert workspace.reread([str(root / "lib/.gitignore")])
    assert "lib/b.py" not in workspace.library.entries  # even before the thread has read the rules
    wait_until(lambda: set(workspace.library.entries) == {"a.py"})
    (root / "lib/.gitignore").unlink()
    workspace.reread([str(root / "lib/.gitignore")])
    wait_until(lambda: set(workspace.library.entries) == {"a.py", "lib/b.py"})


def test_the_disk_is_polled_if_the_editor_does_not_report_changes(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESCAN_SECONDS", 0.02)
    told: list[bool] = []
    workspace.watched = False
    workspace.on_rules_changed = lambda: told.append(True)
    root = tmp_path / "w"
    put(root / "a.py")
    begin(workspace, root)
    put(root / "b.py", SOURCE.format(name="late"))
    wait_until(lambda: set(workspace.library.entries) == {"a.py", "b.py"})
    told.clear()
    put(root / ".gitignore", "a.py")
    wait_until(lambda: set(workspace.library.entries) == {"b.py"})
    wait_until(lambda: bool(told))
    (root / "b.py").unlink()
    wait_until(lambda: set(workspace.library.entries) == set())


def test_rules_above_the_watched_folders_are_polled_without_a_walk(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESCAN_SECONDS", 0.02)
    looks: list[int] = []
    walks: list[int] = []
    told: list[bool] = []
    refresh, list_folder = Files.refresh, Files.list_folder
    monkeypatch.setattr(Files, "refresh", lambda files: looks.append(1) or refresh(files))
    monkeypatch.setattr(Files, "list_folder", lambda *of: walks.append(1) or list_folder(*of))
    workspace.on_rules_changed = lambda: told.append(True)
    (tmp_path / ".git").mkdir()
    root = tmp_path / "package"
    for name in ("a", "b"):
        put(root / f"{name}.py")
    begin(workspace, root)
    walked, looked = len(walks), len(looks)
    wait_until(lambda: len(looks) > looked + 2)
    assert len(walks) == walked == 1 and not told
    put(tmp_path / ".gitignore", "a.py")
    wait_until(lambda: set(workspace.library.entries) == {"b.py"})
    wait_until(lambda: bool(told))
    assert workspace.check_access(str(root / "a.py")).ignored


def test_an_open_document_is_read_when_the_user_switches_to_another(
    tmp_path: Path, workspace: Workspace
) -> None:
    root = tmp_path / "w"
    for name in ("a", "b"):
        put(root / f"{name}.py", SOURCE.format(name=f"{name}_saved"))
    begin(workspace, root)
    a, b = open_document(workspace, root / "a.py"), open_document(workspace, root / "b.py")
    workspace.use(a.uri)
    wait_until_read(workspace)
    changed = a.replace(0, 0, SOURCE.format(name="typed"), 2)
    workspace.change(changed)
    wait_until_read(workspace)
    workspace.use(a.uri)
    assert files_with(workspace, "def typed") == []
    workspace.use(b.uri)
    wait_until(lambda: files_with(workspace, "def typed") == ["a.py"])
    assert workspace.library.opened == ("b.py", "a.py")
    workspace.forget(a.uri)
    wait_until(
        lambda: (files_with(workspace, "def typed"), files_with(workspace, "def a_saved")) == ([], ["a.py"])
    )
    assert workspace.library.opened == ("b.py",)


def test_an_unsaved_document_is_in_the_library_while_it_is_open(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    begin(workspace, root)
    new = open_document(workspace, root / "new.py", SOURCE.format(name="unsaved"))
    other = open_document(workspace, root / "a.py")
    workspace.use(other.uri)
    wait_until(lambda: "new.py" in workspace.library.entries)
    workspace.reread([str(root / "a.py"), str(root / "new.py")])
    wait_until_read(workspace)
    assert "new.py" in workspace.library.entries
    workspace.forget(new.uri)
    wait_until(lambda: "new.py" not in workspace.library.entries)


def test_an_unsaved_document_stays_if_another_is_closed_or_its_folder_changes(
    tmp_path: Path, workspace: Workspace
) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    begin(workspace, root)
    open_document(workspace, root / "new.py", SOURCE.format(name="unsaved"))
    a = open_document(workspace, root / "a.py")
    untitled = Document("untitled:1", "1", "python", 1, "x = 1\n")
    workspace.open(untitled, "")
    workspace.use(a.uri)
    wait_until(lambda: "new.py" in workspace.library.entries)
    workspace.forget(untitled.uri)
    wait_until_read(workspace)
    assert "new.py" in workspace.library.entries
    workspace.reread([str(root)])
    wait_until_read(workspace)
    assert "new.py" in workspace.library.entries


def test_after_a_change_of_rules_or_settings_open_documents_wait_for_their_admission(
    tmp_path: Path, workspace: Workspace
) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    begin(workspace, root)
    # No walk enters a hidden folder.
    hidden = open_document(workspace, root / ".github/new.py", SOURCE.format(name="unsaved"))
    workspace.use(open_document(workspace, root / "a.py").uri)
    wait_until(lambda: ".github/new.py" in workspace.library.entries)

    def change_rules() -> None:
        put(root / ".gitignore", "b.py")
        workspace.reread([str(root / ".gitignore")])

    for change in (
        change_rules,
        lambda: workspace.configure([str(root)], 0),
        lambda: workspace.configure([str(root)], MEGABYTE),
    ):
        change()
        workspace.change(replace(hidden, version=2))
        wait_until_read(workspace)
        assert ".github/new.py" not in workspace.library.entries and workspace.library.opened == ()
        workspace.admit(hidden.uri, True)
        wait_until_read(workspace)
    assert ".github/new.py" in workspace.library.entries


def test_documents_outside_the_workspace_never_enter_the_library(
    tmp_path: Path, workspace: Workspace
) -> None:
    put(tmp_path / "w/a.py")
    put(tmp_path / "out/b.py", SOURCE.format(name="foreign"))
    (tmp_path / "w/link.py").symlink_to(tmp_path / "out/b.py")
    begin(workspace, tmp_path / "w")
    for file in (tmp_path / "out/b.py", tmp_path / "w/link.py"):
        document = open_document(workspace, file)
        workspace.change(document.replace(0, 0, "# x\n", 2))
    workspace.use(open_document(workspace, tmp_path / "w/a.py").uri)
    wait_until_read(workspace)
    library = workspace.library
    assert set(library.entries) == {"a.py"} and library.opened == ("a.py",)


def test_a_document_that_becomes_ignored_leaves_the_library(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    put(root / "b.py", SOURCE.format(name="once"))
    begin(workspace, root)
    b = open_document(workspace, root / "b.py")
    workspace.change(b.replace(0, 0, "# x\n", 2))
    put(root / ".mercuryignore", "b.py")
    workspace.reread([str(root / ".mercuryignore")])
    workspace.admit(b.uri, False)
    wait_until_read(workspace)
    library = workspace.library
    assert set(library.entries) == {"a.py"} and library.opened == ()


def test_a_document_that_is_no_longer_ignored_is_read_again(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    workspace.configure([str(root)], MEGABYTE)
    put(root / "b.py")
    b = open_document(workspace, root / "b.py", SOURCE.format(name="unsaved"))
    open_document(workspace, root / "a.py", SOURCE.format(name="last"))
    for inside in (True, False, True):
        workspace.admit(b.uri, inside)
        while workspace._do_urgent_work():
            pass
        assert ("b.py" in {Path(file).name for file in workspace._kept}) is inside


def test_a_document_that_becomes_ignored_while_it_is_read_leaves_the_library(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    workspace.configure([str(root)], MEGABYTE)
    new = open_document(workspace, root / "new.py", SOURCE.format(name="unsaved"))
    read = module.blank_secrets

    def without(text: str) -> str:
        if "unsaved" in text:
            workspace.admit(new.uri, False)
        return read(text)

    monkeypatch.setattr(module, "blank_secrets", without)
    open_document(workspace, root / "a.py")
    # Run without the thread, because its next walk might drop the entry.
    while workspace._do_urgent_work():
        pass
    assert workspace._kept == {}


def test_changed_rules_drop_files_even_if_a_document_is_removed_meanwhile(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "w"
    for name in "abc":
        put(root / f"{name}.py")
    workspace.configure([str(root)], MEGABYTE)
    b = open_document(workspace, root / "b.py")
    open_document(workspace, root / "new.py", SOURCE.format(name="last"))
    # Run without the thread, so that the document is removed at the worst moment.
    while workspace._do_urgent_work() or workspace._walk_step():
        pass
    assert {Path(file).name for file in workspace._kept} == {"a.py", "b.py", "c.py"}
    put(root / ".mercuryignore", "b.py\nc.py")
    workspace.reread([str(root / ".mercuryignore")])
    may_be_read = workspace._may_be_read

    def admitted(file: str) -> bool:
        workspace.admit(b.uri, False)
        return may_be_read(file)

    monkeypatch.setattr(workspace, "_may_be_read", admitted)
    assert workspace._do_urgent_work()
    assert {Path(file).name for file in workspace._kept} == {"a.py"}


def total_bytes(workspace: Workspace) -> int:
    """Return the bytes of all entries."""
    total = sum(entry.size for entry, _ in workspace._kept.values())
    assert workspace._bytes == total
    return total


class CountingDict(dict[str, Any]):
    """A dictionary that counts the iterations over all items."""

    times = 0

    def items(self) -> ItemsView[str, Any]:
        self.times += 1
        return super().items()


def test_keeping_a_file_does_not_iterate_over_all_others(tmp_path: Path, workspace: Workspace) -> None:
    for number in range(30):
        put(tmp_path / f"w/{number}.py")
    workspace.configure([str(tmp_path / "w")], MEGABYTE)
    workspace._kept = kept = CountingDict()
    while workspace._do_urgent_work() or workspace._walk_step():
        pass
    assert len(kept) == 30 and kept.times < 30
    assert total_bytes(workspace) > 0
    workspace.reread([str(tmp_path / "w")])
    shutil.rmtree(tmp_path / "w")
    assert workspace._do_urgent_work()
    assert total_bytes(workspace) == 0


def test_the_files_nearest_to_open_documents_are_kept_within_the_limit(
    tmp_path: Path, workspace: Workspace
) -> None:
    root = tmp_path / "w"
    for folder in ("a", "a/one", "b", "b/one", "c"):
        for number in range(4):
            put(root / folder / f"{number}.py", "".join(SOURCE.format(name=f"f{i}") for i in range(20)))
    begin(workspace, root, limit=30_000)
    assert 0 < total_bytes(workspace) <= 30_000 and len(workspace.library.entries) < 20
    open_document(workspace, root / "b/one/0.py")
    wait_until(lambda: {"b/one/1.py", "b/one/2.py", "b/one/3.py"} <= set(workspace.library.entries))
    wait_until_read(workspace)
    assert total_bytes(workspace) <= 30_000


def test_reading_waits_for_the_engine_but_not_forever(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "w/a.py")
    asked: list[bool] = []
    busy = True

    def is_busy() -> bool:
        asked.append(True)
        return busy

    workspace.busy = is_busy
    workspace.configure([str(tmp_path / "w")], MEGABYTE)
    workspace.start()
    wait_until(lambda: len(asked) > 3)
    assert workspace.library.entries == {}
    busy = False
    wait_until(lambda: set(workspace.library.entries) == {"a.py"})
    busy = True
    monkeypatch.setattr(background, "ENGINE_WAIT_SECONDS", 0.0)
    put(tmp_path / "w/b.py")
    workspace.reread([str(tmp_path / "w/b.py")])
    wait_until(lambda: set(workspace.library.entries) == {"a.py", "b.py"})


def test_the_progress_of_long_reading_is_reported_to_its_end(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SHOWN_AFTER_SECONDS", -1.0)
    told: list[float | None] = []
    workspace.show = told.append
    for number in range(5):
        put(tmp_path / f"w/{number}/a.py")
    begin(workspace, tmp_path / "w")
    wait_until(lambda: None in told)
    fractions = [fraction for fraction in told[: told.index(None)] if fraction is not None]
    assert fractions and all(0 <= fraction <= 1 for fraction in fractions)


def test_an_error_while_reading_does_not_stop_the_workspace(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def guard(doing: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            logging.getLogger("test").exception(doing)

    workspace.guard = guard
    put(tmp_path / "w/a.py")
    list_folder = Files.list_folder
    monkeypatch.setattr(Files, "list_folder", lambda *_: 1 / 0)
    workspace.configure([str(tmp_path / "w")], MEGABYTE)
    workspace.start()
    wait_until(lambda: "ZeroDivisionError" in caplog.text)
    monkeypatch.setattr(Files, "list_folder", list_folder)
    open_document(workspace, tmp_path / "w/a.py")
    workspace.reread([str(tmp_path / "w/.gitignore")])
    workspace.forget(f"file://{tmp_path}/w/a.py")
    wait_until(lambda: set(workspace.library.entries) == {"a.py"})


@pytest.mark.skipif(
    os.name != "posix" or not hasattr(os, "getpriority"), reason="threads have no priority there"
)
def test_the_thread_has_low_priority(tmp_path: Path, workspace: Workspace) -> None:
    begin(workspace, tmp_path)
    thread = workspace._thread
    assert thread is not None and thread.daemon and thread.native_id is not None
    wait_until(lambda: os.getpriority(os.PRIO_PROCESS, thread.native_id or 0) >= background.NICE)
