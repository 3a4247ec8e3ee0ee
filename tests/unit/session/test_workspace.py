"""The workspace on a real disk: what is read, in which order, what is kept, and what changes do."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, ItemsView, Iterator
from contextlib import contextmanager
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


def until(fulfilled: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not fulfilled():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Told of changes, so that it looks by itself at nothing but rules."""
    there = Workspace()
    there.watched = True
    yield there
    there.close(60)


def begin(there: Workspace, root: Path, limit: int = MEGABYTE) -> None:
    there.configure([str(root)], limit)
    there.start()
    committed(there)


def committed(there: Workspace) -> None:
    """Wait until all is read."""
    until(lambda: there.idle)


def opened(there: Workspace, file: Path, text: str | None = None) -> Document:
    uri = f"file://{file}"
    content = text if text is not None else file.read_text()
    document = Document(uri, str(file).rpartition("/w/")[2], "python", 1, content)
    there.open(document, str(file))
    there.admit(uri, there.check_access(str(file)).inside)
    return document


def holding(there: Workspace, text: str) -> list[str]:
    """The files in the library that hold a text."""
    return [path for path, entry in there.library.entries.items() if text in entry.text]


def test_the_texts_of_all_files_are_known(tmp_path: Path, workspace: Workspace) -> None:
    for name in ("a", "lib/b", "lib/deep/c"):
        put(tmp_path / f"w/{name}.py", SOURCE.format(name=name.rpartition("/")[2] + "_function"))
    begin(workspace, tmp_path / "w")
    assert set(workspace.library.entries) == {"a.py", "lib/b.py", "lib/deep/c.py"}
    assert holding(workspace, "def c_function") == ["lib/deep/c.py"]


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_folder_whose_name_is_none_costs_the_others_nothing(
    name: str, tmp_path: Path, workspace: Workspace
) -> None:
    put(tmp_path / "w/a.py")
    workspace.configure([f"{tmp_path}/{name}", str(tmp_path / "w")], MEGABYTE)
    while workspace._do_urgent_work() or workspace._walk_step():
        pass
    assert [Path(file).name for file in workspace._kept] == ["a.py"]


def test_without_folders_or_memory_nothing_is_read(tmp_path: Path, workspace: Workspace) -> None:
    put(tmp_path / "w/a.py")
    begin(workspace, tmp_path / "w", limit=0)
    assert workspace.library.entries == {}
    workspace.configure([], MEGABYTE)
    committed(workspace)
    assert workspace.library.entries == {}


def test_where_no_source_needs_more_only_open_documents_are_read(
    tmp_path: Path, workspace: Workspace
) -> None:
    root = tmp_path / "w"
    for name in "abc":
        put(root / f"{name}.py")
    workspace.configure([str(root)], MEGABYTE, whole=False)
    workspace.start()
    opened(workspace, root / "a.py")
    opened(workspace, root / "b.py")
    workspace.use(f"file://{root}/b.py")
    committed(workspace)
    workspace.reread([str(root / "c.py")])
    committed(workspace)
    assert set(workspace.library.entries) == {"a.py"}  # b is the one that is worked on
    workspace.configure([str(root)], MEGABYTE, whole=True)
    committed(workspace)
    assert {"a.py", "c.py"} <= set(workspace.library.entries)
    workspace.configure([str(root)], MEGABYTE, whole=False)
    committed(workspace)
    assert "c.py" not in workspace.library.entries
    workspace.forget(f"file://{root}/a.py")
    committed(workspace)
    assert "a.py" not in workspace.library.entries


def test_home_and_the_disk_are_no_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    there = Workspace()
    there.configure(["/", str(tmp_path / "home"), str(tmp_path / "home/me/"), "C:/", "C:"], MEGABYTE)
    assert there._files.roots == ()
    there.configure([str(tmp_path / "home/me/project"), "C:/project"], MEGABYTE)
    assert len(there._files.roots) == 2


def test_changes_on_the_disk_are_followed(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    put(root / "a.py", SOURCE.format(name="old"))
    put(root / "gone/b.py")
    begin(workspace, root)
    put(root / "a.py", SOURCE.format(name="renewed"))
    put(root / "new.py")
    (root / "gone/b.py").unlink()
    workspace.reread([str(root / name) for name in ("a.py", "new.py", "gone")])
    until(lambda: set(workspace.library.entries) == {"a.py", "new.py"})
    committed(workspace)
    assert (holding(workspace, "def old"), holding(workspace, "def renewed")) == ([], ["a.py"])


def test_rules_that_change_take_files_away_at_once(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    put(root / "lib/b.py")
    begin(workspace, root)
    put(root / "lib/.gitignore", "*.py")
    assert workspace.reread([str(root / "lib/.gitignore")])
    assert "lib/b.py" not in workspace.library.entries  # not even until the thread has looked
    until(lambda: set(workspace.library.entries) == {"a.py"})
    (root / "lib/.gitignore").unlink()
    workspace.reread([str(root / "lib/.gitignore")])
    until(lambda: set(workspace.library.entries) == {"a.py", "lib/b.py"})


def test_without_an_editor_that_tells_the_disk_is_looked_at(
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
    until(lambda: set(workspace.library.entries) == {"a.py", "b.py"})
    told.clear()
    put(root / ".gitignore", "a.py")
    until(lambda: set(workspace.library.entries) == {"b.py"})
    until(lambda: bool(told))
    (root / "b.py").unlink()
    until(lambda: set(workspace.library.entries) == set())


def test_rules_above_what_an_editor_watches_are_looked_at_without_a_walk(
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
    until(lambda: len(looks) > looked + 2)
    assert len(walks) == walked == 1 and not told
    put(tmp_path / ".gitignore", "a.py")
    until(lambda: set(workspace.library.entries) == {"b.py"})
    until(lambda: bool(told))
    assert workspace.check_access(str(root / "a.py")).ignored


def test_an_open_document_is_read_when_another_is_used(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    for name in ("a", "b"):
        put(root / f"{name}.py", SOURCE.format(name=f"{name}_saved"))
    begin(workspace, root)
    a, b = opened(workspace, root / "a.py"), opened(workspace, root / "b.py")
    workspace.use(a.uri)
    committed(workspace)
    changed = a.replace(0, 0, SOURCE.format(name="typed"), 2)
    workspace.change(changed)
    committed(workspace)
    workspace.use(a.uri)
    assert holding(workspace, "def typed") == []
    workspace.use(b.uri)
    until(lambda: holding(workspace, "def typed") == ["a.py"])
    assert workspace.library.opened == ("b.py", "a.py")
    workspace.forget(a.uri)
    until(lambda: (holding(workspace, "def typed"), holding(workspace, "def a_saved")) == ([], ["a.py"]))
    assert workspace.library.opened == ("b.py",)


def test_a_new_document_counts_while_it_is_open(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    begin(workspace, root)
    new = opened(workspace, root / "new.py", SOURCE.format(name="unsaved"))
    other = opened(workspace, root / "a.py")
    workspace.use(other.uri)
    until(lambda: "new.py" in workspace.library.entries)
    workspace.reread([str(root / "a.py"), str(root / "new.py")])
    committed(workspace)
    assert "new.py" in workspace.library.entries
    workspace.forget(new.uri)
    until(lambda: "new.py" not in workspace.library.entries)


def test_a_document_from_outside_never_enters(tmp_path: Path, workspace: Workspace) -> None:
    put(tmp_path / "w/a.py")
    put(tmp_path / "out/b.py", SOURCE.format(name="foreign"))
    (tmp_path / "w/link.py").symlink_to(tmp_path / "out/b.py")
    begin(workspace, tmp_path / "w")
    for file in (tmp_path / "out/b.py", tmp_path / "w/link.py"):
        document = opened(workspace, file)
        workspace.change(document.replace(0, 0, "# x\n", 2))
    workspace.use(opened(workspace, tmp_path / "w/a.py").uri)
    committed(workspace)
    library = workspace.library
    assert set(library.entries) == {"a.py"} and library.opened == ("a.py",)


def test_a_document_that_becomes_ignored_leaves_nothing_behind(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    put(root / "b.py", SOURCE.format(name="once"))
    begin(workspace, root)
    b = opened(workspace, root / "b.py")
    workspace.change(b.replace(0, 0, "# x\n", 2))
    put(root / ".mercuryignore", "b.py")
    workspace.reread([str(root / ".mercuryignore")])
    workspace.admit(b.uri, False)
    committed(workspace)
    library = workspace.library
    assert set(library.entries) == {"a.py"} and library.opened == ()


def test_a_document_that_is_ignored_no_more_is_used_again(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    workspace.configure([str(root)], MEGABYTE)
    put(root / "b.py")
    b = opened(workspace, root / "b.py", SOURCE.format(name="unsaved"))
    opened(workspace, root / "a.py", SOURCE.format(name="last"))
    for inside in (True, False, True):
        workspace.admit(b.uri, inside)
        while workspace._do_urgent_work():
            pass
        assert ("b.py" in {Path(file).name for file in workspace._kept}) is inside


def test_a_document_that_becomes_ignored_while_it_is_read_leaves_nothing_behind(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    workspace.configure([str(root)], MEGABYTE)
    new = opened(workspace, root / "new.py", SOURCE.format(name="unsaved"))
    read = module.blank_secrets

    def without(text: str) -> str:
        if "unsaved" in text:
            workspace.admit(new.uri, False)
        return read(text)

    monkeypatch.setattr(module, "blank_secrets", without)
    opened(workspace, root / "a.py")
    # Without the thread, whose next walk may drop the entry.
    while workspace._do_urgent_work():
        pass
    assert workspace._kept == {}


def test_rules_that_change_take_files_away_though_a_document_goes_meanwhile(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "w"
    for name in "abc":
        put(root / f"{name}.py")
    workspace.configure([str(root)], MEGABYTE)
    b = opened(workspace, root / "b.py")
    opened(workspace, root / "new.py", SOURCE.format(name="last"))
    # Without the thread, so that the document goes at the worst moment.
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


def used(workspace: Workspace) -> int:
    """Bytes of all entries."""
    total = sum(entry.size for entry, _ in workspace._kept.values())
    assert workspace._bytes == total
    return total


class Counted(dict[str, Any]):
    """Counts how often all items are gone through."""

    times = 0

    def items(self) -> ItemsView[str, Any]:
        self.times += 1
        return super().items()


def test_a_file_is_kept_without_a_look_at_all_others(tmp_path: Path, workspace: Workspace) -> None:
    for number in range(30):
        put(tmp_path / f"w/{number}.py")
    workspace.configure([str(tmp_path / "w")], MEGABYTE)
    workspace._kept = kept = Counted()
    while workspace._do_urgent_work() or workspace._walk_step():
        pass
    assert len(kept) == 30 and kept.times < 30
    assert used(workspace) > 0
    workspace.reread([str(tmp_path / "w")])
    shutil.rmtree(tmp_path / "w")
    assert workspace._do_urgent_work()
    assert used(workspace) == 0


def test_the_nearest_files_have_the_room(tmp_path: Path, workspace: Workspace) -> None:
    root = tmp_path / "w"
    for folder in ("a", "a/one", "b", "b/one", "c"):
        for number in range(4):
            put(root / folder / f"{number}.py", "".join(SOURCE.format(name=f"f{i}") for i in range(20)))
    begin(workspace, root, limit=30_000)
    assert 0 < used(workspace) <= 30_000 and len(workspace.library.entries) < 20
    opened(workspace, root / "b/one/0.py")
    until(lambda: {"b/one/1.py", "b/one/2.py", "b/one/3.py"} <= set(workspace.library.entries))
    committed(workspace)
    assert used(workspace) <= 30_000


def test_reading_waits_for_the_engine_but_not_for_ever(
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
    until(lambda: len(asked) > 3)
    assert workspace.library.entries == {}
    busy = False
    until(lambda: set(workspace.library.entries) == {"a.py"})
    busy = True
    monkeypatch.setattr(background, "ENGINE_WAIT_SECONDS", 0.0)
    put(tmp_path / "w/b.py")
    workspace.reread([str(tmp_path / "w/b.py")])
    until(lambda: set(workspace.library.entries) == {"a.py", "b.py"})


def test_a_longer_reading_is_told_of_with_an_end(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SHOWN_AFTER_SECONDS", -1.0)
    told: list[float | None] = []
    workspace.show = told.append
    for number in range(5):
        put(tmp_path / f"w/{number}/a.py")
    begin(workspace, tmp_path / "w")
    until(lambda: None in told)
    fractions = [fraction for fraction in told[: told.index(None)] if fraction is not None]
    assert fractions and all(0 <= fraction <= 1 for fraction in fractions)


def test_an_error_costs_no_more_than_what_was_read(
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
    until(lambda: "ZeroDivisionError" in caplog.text)
    monkeypatch.setattr(Files, "list_folder", list_folder)
    opened(workspace, tmp_path / "w/a.py")
    workspace.reread([str(tmp_path / "w/.gitignore")])
    workspace.forget(f"file://{tmp_path}/w/a.py")
    until(lambda: set(workspace.library.entries) == {"a.py"})


@pytest.mark.skipif(
    os.name != "posix" or not hasattr(os, "getpriority"), reason="threads have no priority there"
)
def test_the_thread_stands_back(tmp_path: Path, workspace: Workspace) -> None:
    begin(workspace, tmp_path)
    thread = workspace._thread
    assert thread is not None and thread.daemon and thread.native_id is not None
    until(lambda: os.getpriority(os.PRIO_PROCESS, thread.native_id or 0) >= background.NICE)
