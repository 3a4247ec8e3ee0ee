"""The background index: what becomes part of it, what never does, and that it keeps up with changes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_file_access import put

from mercury_lsp.context import background
from mercury_lsp.context.memory import indexer as module
from mercury_lsp.context.memory.indexer import Indexer
from mercury_lsp.context.memory.project import ProjectMemory
from mercury_lsp.context.memory.segment import Segment
from mercury_lsp.context.memory.tokens import MemoryReader
from mercury_lsp.context.retrieval.index import Entry, read
from mercury_lsp.engine.checkpoints.checkpoint import SHIPPED
from mercury_lsp.engine.tokenizer import Tokenizer
from mercury_lsp.session.workspace import Workspace
from mercury_lsp.syntax.document import Document

MEGABYTE = 2**20
TOKEN = "ghp_" + "aB3dE5gH7jK9" * 3  # of the form of a secret, and none


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SHIPPED / "small")


@pytest.fixture
def indexer(tokenizer: Tokenizer) -> Iterator[Indexer]:
    there = Indexer()
    there.set_vocabulary(tokenizer)
    yield there
    there.close(60)


def size(segment: Segment) -> int:
    """Bytes of the text and of the order of its positions."""
    return len(segment.text) + segment.indices(0, segment.places, segment.places).nbytes


def until(fulfilled: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not fulfilled():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


def entries(**texts: str) -> dict[str, Entry]:
    return {path: read(path, text) for path, text in texts.items()}


def texts(memory: ProjectMemory, tokenizer: Tokenizer) -> dict[str, str]:
    """The files that can be found in a memory, and what they have in it."""
    found: dict[str, str] = {}
    for segment, dead in zip(memory.segments, memory.dead, strict=True):
        for number, path in enumerate(segment.paths):
            if path not in dead:
                assert path not in found, "a file is in two segments"
                found[path] = tokenizer.decode(segment.ids(number).tolist())
    return found


def raw(memory: ProjectMemory, tokenizer: Tokenizer) -> str:
    """All that is held of any file, found or not."""
    held = (s.ids(number).tolist() for s in memory.segments for number in range(len(s.paths)))
    return "".join(map(tokenizer.decode, held))


def test_what_is_given_is_indexed_and_what_is_taken_away_is_gone_at_once(
    indexer: Indexer, tokenizer: Tokenizer
) -> None:
    given = entries(a="alpha = 1\n", b="beta = 2\n", c="gamma = 3\n")
    indexer.set_entries(given)
    until(lambda: indexer.idle)
    assert texts(indexer.memory, tokenizer) == {path: entry.text for path, entry in given.items()}
    indexer.set_entries({path: given[path] for path in "ac"})
    assert set(texts(indexer.memory, tokenizer)) == {"a", "c"}  # without a wait
    indexer.set_entries({})
    assert texts(indexer.memory, tokenizer) == {}


def test_changes_one_by_one_make_the_same_memory_as_all_at_once(
    indexer: Indexer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    given: dict[str, Entry] = {}
    encoded: list[str] = []
    encode_all = Tokenizer.encode_all

    def counted(self: Tokenizer, parts: Sequence[str]) -> list[list[int]]:
        encoded.extend(parts)
        return encode_all(self, parts)

    monkeypatch.setattr(Tokenizer, "encode_all", counted)
    for step in range(40):
        path = f"f{draw.integers(12)}"
        given = dict(given)
        encoded.clear()
        if path in given and draw.random() < 0.3:
            del given[path]
            text = None
        else:
            text = "".join(f"name_{draw.integers(9)} = {draw.integers(9)}\n" for _ in range(20))
            given[path] = read(path, text)
        indexer.set_entries(given)
        until(lambda: indexer.idle)
        assert encoded == ([] if text is None else [text]), "another file than the changed one was read"
        assert texts(indexer.memory, tokenizer) == {name: entry.text for name, entry in given.items()}, step
        assert len(indexer.memory.segments) <= module.MAX_SEGMENTS
    whole = Indexer()
    whole.set_entries(given)
    whole.set_vocabulary(tokenizer)
    until(lambda: whole.idle)
    whole.close(60)
    empty = np.array([], np.uint16)
    step_by_step, at_once = (own.memory.for_document("", empty, empty) for own in (indexer, whole))
    for entry in given.values():
        ids = tokenizer.encode(entry.text)
        for end in range(1, len(ids), 7):
            one, other = (own.find_match(ids[:end]).project for own in (step_by_step, at_once))
            assert [level._replace(ids=(), counts=()) for level in one] == [
                level._replace(ids=(), counts=()) for level in other
            ]
            assert [dict(zip(level.ids, level.counts, strict=True)) for level in one] == [
                dict(zip(level.ids, level.counts, strict=True)) for level in other
            ]


def test_a_change_while_a_segment_is_made_is_not_lost(
    indexer: Indexer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that is being sorted changes, another one goes."""
    later = entries(a="newer = 1\n")
    build = Segment.build
    taken: list[bool] = []

    def slow(files: object, dtype: object) -> Segment:
        if not taken:
            taken.append(True)
            indexer.set_entries(later)
        return build(files, dtype)  # type: ignore[arg-type]

    monkeypatch.setattr(Segment, "build", slow)
    indexer.set_entries(entries(a="older = 1\n", b="gone = 2\n"))
    until(lambda: indexer.idle and bool(taken))
    assert texts(indexer.memory, tokenizer) == {"a": "newer = 1\n"}


def test_files_by_the_thousand_make_few_segments_and_few_bytes(
    indexer: Indexer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_CHARACTERS", 5_000)
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 1_000)
    given = entries(**{f"f{i}": f"value_{i} = compute({i})\n" * 5 for i in range(500)})
    indexer.set_entries(given)
    until(lambda: indexer.idle)
    assert len(texts(indexer.memory, tokenizer)) == 500
    assert len(indexer.memory.segments) <= module.MAX_SEGMENTS
    assert sum(map(size, indexer.memory.segments)) <= 12 * sum(own.tokens for own in indexer.memory.segments)


def test_another_model_begins_anew_and_none_keeps_nothing(indexer: Indexer, tokenizer: Tokenizer) -> None:
    indexer.set_entries(entries(a="alpha = 1\n"))
    until(lambda: indexer.idle)
    other = Tokenizer.load(SHIPPED / "small")
    indexer.set_vocabulary(other)
    until(lambda: indexer.idle)
    assert indexer.memory.vocabulary is other and set(texts(indexer.memory, other)) == {"a"}
    document = Document("u", "b", "python", 1, "alpha")
    assert MemoryReader(other).for_document(indexer.memory, document, 5, 0).segments
    assert not MemoryReader(tokenizer).for_document(indexer.memory, document, 5, 0).segments
    indexer.set_vocabulary(None)
    assert indexer.memory.segments == () and indexer.idle


def test_indexing_waits_for_the_engine_but_not_for_ever(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def busy() -> bool:
        asked.append(True)
        return True

    indexer.busy = busy
    indexer.set_entries(entries(a="alpha = 1\n"))
    until(lambda: len(asked) > 3)
    assert indexer.memory.segments == ()
    monkeypatch.setattr(background, "ENGINE_WAIT_SECONDS", 0.0)
    indexer.busy = lambda: False
    until(lambda: indexer.idle)
    indexer.busy = lambda: True
    indexer.set_entries(entries(b="beta = 1\n"))
    until(lambda: indexer.idle)
    assert indexer.memory.segments


def test_a_longer_indexing_is_told_of_with_an_end(indexer: Indexer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "SHOWN_AFTER_SECONDS", -1.0)
    told: list[float | None] = []
    indexer.show = told.append
    indexer.set_entries(entries(a="alpha = 1\n"))
    until(lambda: None in told)
    assert told[0] == 1.0


def test_an_error_ends_the_indexing_for_this_model_and_nothing_else(
    indexer: Indexer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def guard(doing: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            logging.getLogger("test").exception(doing)

    indexer.guard = guard
    build = Segment.build
    monkeypatch.setattr(Segment, "build", lambda *_: 1 / 0)
    indexer.set_entries(entries(a="alpha = 1\n"))
    until(lambda: "ZeroDivisionError" in caplog.text)
    until(lambda: indexer.idle)
    assert caplog.text.count("ZeroDivisionError") == 1
    monkeypatch.setattr(Segment, "build", build)
    indexer.set_vocabulary(tokenizer)
    until(lambda: bool(indexer.memory.segments))


@pytest.mark.skipif(
    os.name != "posix" or not hasattr(os, "getpriority"), reason="threads have no priority there"
)
def test_the_thread_stands_back(indexer: Indexer) -> None:
    thread = indexer._thread
    assert thread is not None and thread.daemon and thread.native_id is not None
    until(lambda: os.getpriority(os.PRIO_PROCESS, thread.native_id or 0) >= background.NICE)


@pytest.fixture
def workspace(tmp_path: Path, tokenizer: Tokenizer) -> Iterator[Workspace]:
    there = Workspace()
    there.watched = True
    there.configure([str(tmp_path / "w")], MEGABYTE)
    there.index_with(tokenizer)
    there.start()
    yield there
    there.close(60)


def known(there: Workspace, tokenizer: Tokenizer) -> str:
    """All that the memory of a workspace holds, once it is complete."""
    until(lambda: there.idle)
    assert there.memory is not None
    assert set(texts(there.memory, tokenizer)) == set(there.library.entries)
    return raw(there.memory, tokenizer)


def test_nothing_ignored_private_or_secret_is_ever_in_the_memory(
    tmp_path: Path, workspace: Workspace, tokenizer: Tokenizer
) -> None:
    root = tmp_path / "w"
    put(root / ".gitignore", "ignored.py\nbuild/\n")
    put(root / ".env", "PASSWORD=planted_env\n")
    put(root / "ignored.py", "planted_ignored = 1\n")
    put(root / "build/made.py", "planted_built = 1\n")
    put(root / "secrets.py", f'TOKEN = "{TOKEN}"\nkept_line = 1\n')
    put(
        root / "id_rsa.py",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nplanted_key\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    put(tmp_path / "outside.py", "planted_outside = 1\n")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    workspace.reread(
        [str(root / name) for name in (".gitignore", "secrets.py", "id_rsa.py", "link.py", ".env")]
    )
    until(lambda: "secrets.py" in workspace.library.entries)
    held = known(workspace, tokenizer)
    assert "kept_line" in held
    assert "planted" not in held and TOKEN not in held and TOKEN[4:20] not in held


def test_a_document_with_a_secret_that_is_open_tells_others_nothing_of_it(
    tmp_path: Path, workspace: Workspace, tokenizer: Tokenizer
) -> None:
    root = tmp_path / "w"
    put(root / "a.py", "alpha = 1\n")
    put(root / "b.py", "beta = 1\n")
    for name in "ab":
        text = f'key = "{TOKEN}"\ntyped_{name} = 1\n'
        document = Document(f"file://{root}/{name}.py", f"{name}.py", "python", 1, text)
        workspace.open(document, str(root / f"{name}.py"))
        workspace.admit(document.uri, True)
    workspace.use(f"file://{root}/b.py")
    until(lambda: workspace.idle and "typed_a" in known(workspace, tokenizer))
    assert TOKEN not in known(workspace, tokenizer)


def test_rules_that_change_take_files_out_of_the_memory_at_once(
    tmp_path: Path, workspace: Workspace, tokenizer: Tokenizer
) -> None:
    root = tmp_path / "w"
    put(root / "a.py", "alpha = 1\n")
    put(root / "lib/b.py", "beta = 1\n")
    workspace.reread([str(root / "a.py"), str(root / "lib/b.py")])
    until(lambda: len(workspace.library.entries) == 2)
    assert "beta" in known(workspace, tokenizer)
    put(root / "lib/.gitignore", "*.py")
    workspace.reread([str(root / "lib/.gitignore")])
    assert workspace.memory is not None
    assert "lib/b.py" not in texts(workspace.memory, tokenizer)  # not even until the threads have looked
    until(lambda: set(workspace.library.entries) == {"a.py"})
    until(lambda: workspace.idle)
    assert set(texts(workspace.memory, tokenizer)) == {"a.py"}


def test_without_room_nothing_is_indexed(tmp_path: Path, workspace: Workspace, tokenizer: Tokenizer) -> None:
    put(tmp_path / "w/a.py", "alpha = 1\n")
    workspace.reread([str(tmp_path / "w/a.py")])
    assert "alpha" in known(workspace, tokenizer) or known(workspace, tokenizer) == ""
    workspace.configure([str(tmp_path / "w")], 0)
    assert workspace.memory is not None and texts(workspace.memory, tokenizer) == {}


def test_the_memory_is_part_of_what_a_file_is_said_to_take(tokenizer: Tokenizer) -> None:
    text = "".join(f"def function_{i}(value):\n    return value + {i}\n" for i in range(300))
    entry = read("a.py", text)
    segment = Segment.build([("a.py", np.array(tokenizer.encode(text), np.uint16))], np.dtype(np.uint16))
    assert entry.size > len(entry.packed) + size(segment)
