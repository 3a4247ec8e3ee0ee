"""The admission of documents: before it is known whether a file is ignored, it counts as ignored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.lsp.client import Progress
from mercury_lsp.lsp.ignore_check import IgnoreCheck
from mercury_lsp.session.file_access import FileAccess
from mercury_lsp.session.session import Session
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation

WAIT = 30


class Watching(Progress):
    def __init__(self) -> None:
        self.seen: list[object] = []

    async def begin(self, title: str) -> None:
        self.seen.append(title)

    def show(self, fraction: float) -> None:
        self.seen.append(fraction)

    def end(self) -> None:
        self.seen.append("end")


class There:
    """An ignore check with all that it needs, for a workspace in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.session, self.shown = Session(), Watching()
        self.tasks: set[asyncio.Task[None]] = set()
        self.ignore_check = IgnoreCheck(
            self.session, CompletionScheduler(), self.spawn, lambda: self.shown, lambda doing: nullcontext()
        )
        self.ignore_check.set_folders([f"file://{root}"])

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        return task

    def open(self, name: str) -> str:
        uri = f"file://{self.root}/{name}"
        self.session.open(uri, name, "python", 1, "x = 1\n", f"{self.root}/{name}")
        self.ignore_check.opened(uri)
        return uri

    def snapshot(self, uri: str) -> Snapshot:
        snapshot = self.session.snapshot(uri)
        assert snapshot is not None
        return snapshot

    def ignored(self, uri: str) -> bool:
        return self.snapshot(uri).ignored

    async def wait(self, uri: str) -> bool:
        """Whether it is ignored, once that is known."""
        return (await self.ignore_check.wait(self.snapshot(uri))).ignored


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[There]:
    (tmp_path / ".gitignore").write_text("build/\n", encoding="utf-8")
    made = There(tmp_path)
    yield made
    await asyncio.gather(*made.tasks)
    made.session.workspace.close(WAIT)


async def test_a_document_counts_as_ignored_until_it_is_known_not_to_be(there: There) -> None:
    uri, other = there.open("a.py"), there.open("build/b.py")
    assert there.ignore_check.pending(uri) and there.ignored(uri)
    assert not await there.wait(uri) and await there.wait(other)
    assert not there.ignore_check.pending(uri) and not there.ignored(uri) and there.ignored(other)


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        ({}, {"a.py", "b.py"}),
        ({"project_files": "open"}, {"a.py"}),
        ({"project_files": "none"}, set()),
        ({"enabled": False}, set()),
    ],
)
async def test_as_much_of_the_workspace_is_read_as_the_option_says(
    settings: dict[str, object], read: set[str], there: There
) -> None:
    (there.root / "a.py").write_text("x = 1\n", encoding="utf-8")
    (there.root / "b.py").write_text("y = 2\n", encoding="utf-8")
    there.session.configure(settings)
    there.ignore_check.set_folders([f"file://{there.root}"])
    workspace, (uri, other) = there.session.workspace, (there.open("a.py"), there.open("c.py"))
    assert not await there.wait(uri) and not await there.wait(other)
    workspace.use(other)
    workspace.start()
    async with asyncio.timeout(WAIT):
        while not workspace.idle:
            await asyncio.sleep(0.01)
    assert set(workspace.library.entries) - {"c.py"} == read


async def test_what_a_link_leads_to_is_private_too(there: There) -> None:
    (there.root / ".env").write_text("A=1\n", encoding="utf-8")
    (there.root / "a.py").symlink_to(there.root / ".env")
    uri = there.open("a.py")
    before = there.snapshot(uri)
    after = await there.ignore_check.wait(before)
    assert not before.private and after.private and after.ignored
    there.session.close(uri)
    assert (await there.ignore_check.wait(after)).ignored


async def test_rules_that_change_count_for_open_documents(there: There) -> None:
    uri = there.open("a.py")
    assert not await there.wait(uri)
    (there.root / ".mercuryignore").write_text("a.py\n", encoding="utf-8")
    assert there.session.workspace.reread([f"{there.root}/.mercuryignore"])
    there.ignore_check.check_all()
    assert there.ignored(uri)
    assert await there.wait(uri)


async def test_on_a_disk_that_hangs_a_document_stays_ignored(
    there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mercury_lsp.lsp.ignore_check.ACCESS_WAIT_SECONDS", 0.05)
    go_on = threading.Event()

    def hang(file: str) -> FileAccess:
        assert go_on.wait(WAIT)
        return FileAccess(ignored=False, inside=True)

    monkeypatch.setattr(there.session.workspace, "check_access", hang)
    uri = there.open("a.py")
    assert await there.wait(uri)
    go_on.set()
    monkeypatch.setattr("mercury_lsp.lsp.ignore_check.ACCESS_WAIT_SECONDS", WAIT)
    assert not await there.wait(uri)


async def test_a_disk_that_hangs_keeps_nothing_else_waiting(
    there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def hang(file: str) -> FileAccess:
        assert go_on.wait(2 * WAIT)
        return FileAccess(ignored=False, inside=True)

    monkeypatch.setattr(there.session.workspace, "check_access", hang)
    # More than the threads that all others share.
    for number in range(40):
        there.open(f"{number}.py")
    await asyncio.sleep(0)
    try:
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), WAIT) == "done"
    finally:
        go_on.set()


async def test_an_answer_about_another_file_does_not_count(there: There) -> None:
    uri = there.open("a.py")
    there.session.open(uri, "b.py", "python", 2, "", f"{there.root}/build/a.py")
    there.ignore_check.opened(uri)
    assert await there.wait(uri)


async def test_a_long_reading_is_shown(there: There) -> None:
    there.ignore_check.start_reading()
    show = there.session.workspace.show
    for fraction in (0.25, 0.5, None, None):
        show(fraction)
    while "end" not in there.shown.seen:
        await asyncio.sleep(0.001)
    assert [seen for seen in there.shown.seen if seen != "Reading the workspace"] == [0.25, 0.5, "end"]


async def test_indentation_is_as_the_project_says_now(there: There) -> None:
    told = there.root / ".editorconfig"
    told.write_text("[*.py]\nindent_size = 3\n", encoding="utf-8")
    uri = there.open("a.py")
    before = there.snapshot(uri)
    assert before.indentation == NO_INDENTATION
    assert (await there.ignore_check.wait(before)).indentation == Indentation(None, 3)
    told.write_text("[*.py]\nindent_size = 8\n", encoding="utf-8")
    assert there.session.workspace.reread([str(told)])
    there.ignore_check.check_all()
    assert (await there.ignore_check.wait(before)).indentation == Indentation(None, 8)
    assert before != there.snapshot(uri)  # what was suggested before does not hold any more
    there.session.close(uri)
    there.session.open(uri, "a.py", "python", 1, "", "")
    assert there.snapshot(uri).indentation == NO_INDENTATION
