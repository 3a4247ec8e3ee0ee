"""The server in this process: its error boundary, its logs, and changes of settings and documents while it runs."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mercury_lsp.completion import engines, scheduler
from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine import worker
from mercury_lsp.engine.api import Infill
from mercury_lsp.lsp.protocol import frames
from mercury_lsp.lsp.server import serve
from mercury_lsp.session import session
from mercury_lsp.session.session import Session

Message = dict[str, Any]
URI = "file:///w/a.txt"
INLINE: Message = {"textDocument": {"inlineCompletion": {}}, "window": {"workDoneProgress": True}}
ITEM = {"uri": URI, "languageId": "plaintext", "version": 1, "text": "some words and "}


class Editor:
    """The client of `serve`, in the same event loop; also the server's writer."""

    # Whether requests of the server are answered automatically.
    answers_itself = True

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.sent: list[Message] = []
        self._arrived = asyncio.Event()

    def write(self, data: bytes) -> None:
        message = json.loads(data.partition(b"\r\n\r\n")[2])
        self.sent.append(message)
        self._arrived.set()
        if self.answers_itself and "id" in message and "method" in message:
            self.send(id=message["id"], result=None)

    def close(self) -> None:
        pass

    def send(self, **message: object) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.reader.feed_data(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def until(self, fulfilled: Callable[[Message], bool]) -> Message:
        """Return the first message that fulfils a condition, and wait for it if necessary."""
        while True:
            for message in self.sent:
                if fulfilled(message):
                    return message
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), 120)

    async def ask(self, id_: int, method: str, params: object) -> Message:
        self.send(id=id_, method=method, params=params)
        return await self.until(lambda message: message.get("id") == id_ and "method" not in message)

    async def complete(self, id_: int) -> Message:
        position = {"line": 0, "character": 15}
        params = {"textDocument": {"uri": URI}, "position": position, "context": {"triggerKind": 1}}
        return await self.ask(id_, "textDocument/inlineCompletion", params)

    async def start(self, **options: object) -> None:
        """Begin a session and open a document."""
        params: Message = {"processId": None, "rootUri": None, "capabilities": INLINE}
        params["workspaceFolders"] = [{"uri": "file:///w", "name": "w"}]
        # So that a busy machine does not fail the test.
        options = {"deadline_ms": 60_000, **options}
        await self.ask(0, "initialize", {**params, "initializationOptions": options})
        self.send(method="initialized", params={})
        self.send(method="textDocument/didOpen", params={"textDocument": ITEM})


@pytest.fixture
async def editor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An editor with a server that waits until its model is loaded, and ends after the test."""
    monkeypatch.setattr(scheduler, "MODEL_WAIT_SECONDS", 120)
    editor = Editor()
    serving = asyncio.create_task(serve(frames(editor.reader), editor))
    yield editor
    editor.reader.feed_eof()
    assert await serving == 1


def notices(editor: Editor) -> list[str]:
    """Return the messages shown to the user."""
    return [m["params"]["message"] for m in editor.sent if m.get("method") == "window/showMessage"]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("mercury_lsp.engine.local_engine.LocalEngine.infill", MemoryError("no more")),
        ("mercury_lsp.engine.local_engine.LocalEngine.infill", RuntimeError("CUDA error")),
        ("mercury_lsp.engine.backends.kv_cache.CachedModel.run", OSError("gone")),
        ("mercury_lsp.engine.backends.kv_cache.CachedModel.run", SystemExit(1)),
        ("mercury_lsp.engine.backends.kv_cache.CachedModel.scores", KeyboardInterrupt()),
        ("mercury_lsp.engine.tokenizer.Tokenizer.encode", OverflowError()),
        ("mercury_lsp.syntax.tree.Syntax.of", SystemError("a parser")),
        ("mercury_lsp.context.prompt.build", RecursionError()),
        ("mercury_lsp.completion.fitting.postprocess.fit", AssertionError()),
    ],
)
async def test_each_error_gives_an_empty_answer_and_all_errors_one_notice(
    editor: Editor, model: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise error

    await editor.start(model=str(model), max_tokens=4, anticipate=False)
    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        # One more failure than needed to load the engine again.
        for id_ in range(1, worker.FAILURES_BEFORE_RELOAD + 2):
            assert (await editor.complete(id_))["result"] == {"items": []}
            if id_ == 1:
                problem = await editor.until(lambda message: message.get("method") == "window/logMessage")
                assert "Traceback" in problem["params"]["message"]
    assert len(notices(editor)) == 1 and "error of ours" in notices(editor)[0]
    assert "failed 3 times in a row; it is loaded again" in caplog.text
    assert (await editor.complete(99))["result"]["items"]
    assert len(notices(editor)) == 1


async def test_the_user_is_told_if_the_engine_cannot_be_loaded_again(
    editor: Editor, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no more")

    await editor.start(model=str(model), max_tokens=4, anticipate=False)
    assert (await editor.complete(1))["result"]["items"]
    monkeypatch.setattr("mercury_lsp.engine.backends.kv_cache.CachedModel.run", fail)
    monkeypatch.setattr("mercury_lsp.engine.load.load_engine", fail)
    for id_ in range(2, 9):
        assert (await editor.complete(id_))["result"] == {"items": []}
    assert len(notices(editor)) == 2 and notices(editor)[1].endswith("no more")


async def test_an_error_in_a_notification_is_logged_with_its_cause(
    editor: Editor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("out of order")

    await editor.start(enabled=False)
    monkeypatch.setattr(Session, "close", fail)
    editor.send(method="textDocument/didClose", params={"textDocument": {"uri": URI}})
    assert (await editor.ask(1, "mercury/documentDigest", {"textDocument": {"uri": URI}}))["result"][
        "version"
    ] == 1
    assert "out of order" in caplog.text and "in fail" in caplog.text


async def test_each_client_gets_only_the_log_of_its_own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(config: Config, *_: object, **__: object) -> None:
        logging.getLogger("mercury_lsp.engine").warning("loaded for %d", config.max_tokens)
        raise MemoryError("no more")

    def logged(editor: Editor) -> str:
        lines = [m["params"]["message"] for m in editor.sent if m.get("method") == "window/logMessage"]
        return "\n".join(lines)

    def open_large(editor: Editor, name: str) -> None:
        large = ITEM | {"uri": f"file:///w/{name}", "text": "x" * (session.MAX_DOCUMENT_CHARACTERS + 1)}
        editor.send(method="textDocument/didOpen", params={"textDocument": large})

    monkeypatch.setattr(engines, "load", load)
    level = logging.getLogger("mercury_lsp").level
    one, two = editors = [Editor(), Editor()]
    serving = [asyncio.create_task(serve(frames(e.reader), e, shared=True)) for e in editors]
    for editor, tokens in ((one, 11), (two, 22)):
        await editor.start(max_tokens=tokens)
    for editor in editors:
        # This message comes from the thread that loads the model.
        await editor.until(lambda message: "no more" in str(message))
    open_large(one, "merger")
    await one.ask(1, "mercury/work", None)
    for editor, tokens in ((one, 11), (two, 22)):
        await editor.ask(2, "mercury/work", None)
        assert re.findall(r"loaded for \d+", logged(editor)) == [f"loaded for {tokens}"]
    assert [logged(editor).count("document of more than") for editor in editors] == [1, 0]
    settings = {"max_tokens": 22, "log_level": "error"}
    two.send(method="workspace/didChangeConfiguration", params={"settings": {"mercury": settings}})
    for editor in reversed(editors):
        open_large(editor, "later")
        await editor.ask(3, "mercury/work", None)
        await editor.ask(4, "mercury/work", None)
    assert [logged(editor).count("document of more than") for editor in editors] == [2, 0]
    assert logging.getLogger("mercury_lsp").level == level
    for editor in editors:
        editor.reader.feed_eof()
    assert await asyncio.gather(*serving) == [1, 1]


async def test_the_event_loop_does_not_wait_for_the_threads_of_a_client(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[tuple[str, bool]] = []
    join = threading.Thread.join

    def joined(thread: threading.Thread, timeout: float | None = None) -> None:
        on_loop = threading.current_thread() is threading.main_thread()
        waited.append((thread.name, on_loop and timeout != 0))
        join(thread, timeout)

    editor = Editor()
    serving = asyncio.create_task(serve(frames(editor.reader), editor))
    await editor.start(model=str(tiny_model))
    await editor.ask(1, "mercury/work", None)
    monkeypatch.setattr(threading.Thread, "join", joined)
    editor.reader.feed_eof()
    assert await serving == 1
    assert ("mercury-workspace", False) in waited
    assert not any(waits_on_loop for _, waits_on_loop in waited)


async def test_a_document_that_was_too_large_is_available_again_once_it_is_smaller(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(version: int, start: int, end: int, text: str) -> None:
        span = {side: {"line": 0, "character": at} for side, at in (("start", start), ("end", end))}
        changed = {"textDocument": {"uri": URI, "version": version}}
        editor.send(
            method="textDocument/didChange",
            params=changed | {"contentChanges": [{"range": span, "text": text}]},
        )

    monkeypatch.setattr(session, "MAX_DOCUMENT_CHARACTERS", 20)
    await editor.start(enabled=False)
    asked = {"textDocument": {"uri": URI}}
    before = (await editor.ask(1, "mercury/documentDigest", asked))["result"]
    change(2, 0, 0, "x" * 20)
    assert (await editor.ask(2, "mercury/documentDigest", asked)).get("result") is None
    change(3, 0, 20, "")
    after = (await editor.ask(3, "mercury/documentDigest", asked))["result"]
    assert after == before | {"version": 3}


async def test_a_completion_has_the_settings_folders_and_text_of_its_request(
    editor: Editor, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Snapshot] = []
    monkeypatch.setattr(scheduler, "complete", lambda snapshot, *_, **__: seen.append(snapshot))
    await editor.start(model=str(tiny_model))
    await editor.complete(1)
    added, removed = {"uri": "file:///", "name": ""}, {"uri": "file:///w", "name": "w"}
    event = {"added": [added], "removed": [removed]}
    editor.send(method="workspace/didChangeWorkspaceFolders", params={"event": event})
    editor.send(method="workspace/didChangeConfiguration", params={"settings": {"max_tokens": 4}})
    editor.send(method="textDocument/didOpen", params={"textDocument": {**ITEM, "version": 2}})
    await editor.complete(2)
    first, second = seen
    assert (first.document.path, first.document.version, first.roots) == ("a.txt", 1, ("/w",))
    assert (second.document.path, second.document.version, second.roots) == ("w/a.txt", 2, ("/",))
    assert first.config.max_tokens == 64 and second.config.max_tokens == 4


@pytest.mark.parametrize(("kind", "invoked"), [(1, True), (2, False)])
async def test_a_completion_knows_whether_its_request_is_manual(
    editor: Editor, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, kind: int, invoked: bool
) -> None:
    seen: list[Snapshot] = []
    monkeypatch.setattr(scheduler, "complete", lambda snapshot, *_, **__: seen.append(snapshot))
    await editor.start(model=str(tiny_model))
    place = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 15}}
    await editor.ask(1, "textDocument/inlineCompletion", {**place, "context": {"triggerKind": kind}})
    assert [snapshot.manual for snapshot in seen] == [invoked]


@pytest.mark.parametrize(("kind", "most"), [(1, 3), (2, 1)])
async def test_manual_requests_get_several_suggestions(
    editor: Editor, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, kind: int, most: int
) -> None:
    monkeypatch.setattr("mercury_lsp.completion.pipeline.ALTERNATIVES_SECONDS", 60.0)
    await editor.start(model=str(tiny_model), max_tokens=8, show_likelihood=0)
    place = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 15}}
    answer = await editor.ask(1, "textDocument/inlineCompletion", {**place, "context": {"triggerKind": kind}})
    texts = [item["insertText"] for item in answer["result"]["items"]]
    assert len(set(texts)) == most


async def test_an_item_that_a_client_would_hide_is_not_sent(
    editor: Editor, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replacing(snapshot: Snapshot, offset: int, *_: object, **__: object) -> Completion:
        infill = Infill("x) + 1", 1, 1, 1, 1.0, 0.0, 1.0, 0, 1, 0.99, True)
        return Completion(infill.text, infill.text, offset, offset + 1, infill)

    monkeypatch.setattr(scheduler, "complete", replacing)
    await editor.start(model=str(tiny_model))
    change = {
        "range": {"start": {"line": 0, "character": 5}, "end": {"line": 0, "character": 15}},
        "text": "app)",
    }
    there = {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [change]}
    editor.send(method="textDocument/didChange", params=there)
    ends = [{"line": 0, "character": column} for column in (5, 8)]
    chosen = {"range": dict(zip(("start", "end"), ends, strict=True)), "text": "append("}
    params = {"textDocument": {"uri": URI}, "position": ends[1], "context": {"triggerKind": 1}}
    answer = await editor.ask(1, "textDocument/inlineCompletion", params)
    assert len(answer["result"]["items"]) == 1
    params["context"] = {"triggerKind": 1, "selectedCompletionInfo": chosen}
    answer = await editor.ask(2, "textDocument/inlineCompletion", params)
    assert answer["result"]["items"] == []


async def test_prefetching_starts_at_the_end_of_the_last_change(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, int | None]] = []
    monkeypatch.setattr(
        CompletionScheduler, "on_open", lambda _, there: begun.append((there.document.text, None))
    )
    monkeypatch.setattr(
        CompletionScheduler, "on_change", lambda _, there, at: begun.append((there.document.text, at))
    )

    async def told(*changes: tuple[int, int, str] | str) -> tuple[str, int | None] | None:
        """Return the work that begins after changes of the line, or of the whole text."""
        begun.clear()
        content: list[Message] = []
        for change in changes:
            if isinstance(change, str):
                content.append({"text": change})
            else:
                places = ({"line": 0, "character": at} for at in change[:2])
                content.append({"range": dict(zip(("start", "end"), places, strict=True)), "text": change[2]})
        there = {"textDocument": {"uri": URI, "version": 2}, "contentChanges": content}
        editor.send(method="textDocument/didChange", params=there)
        await editor.ask(len(editor.sent) + 100, "mercury/work", None)
        return begun[0] if begun else None

    await editor.start(enabled=False)
    # Until the check for ignored files has finished.
    while not begun:
        await asyncio.sleep(0)
    assert begun == [(ITEM["text"], None)]
    assert await told((15, 15, "f")) == ("some words and f", 16)
    assert await told((16, 16, "()")) == ("some words and f()", 17)
    assert await told((0, 4, "Any"), (3, 3, " of"), (13, 15, "")) == ("Any of words d f()", 13)
    assert await told("all new") is None
    assert await told("all new", (7, 7, "!")) == ("all new!", 8)
    assert await told((0, 0, "x" * 1000)) == ("x" * 1000 + "all new!", 1000)
    assert await told((0, 1000, "")) is None
    assert await told((0, 3, "")) == (" new!", 0)
    assert await told() is None


async def test_a_model_that_cannot_be_loaded_is_reported_once_and_can_be_replaced(
    editor: Editor, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Snapshot] = []
    monkeypatch.setattr(scheduler, "complete", lambda snapshot, *_, **__: seen.append(snapshot))
    await editor.start(model=str(tmp_path))
    told = await editor.until(lambda message: message.get("method") == "window/showMessage")
    assert told["params"]["type"] == 1 and str(tmp_path) in told["params"]["message"]
    assert (await editor.complete(1))["result"] == {"items": []}
    settings = {"mercury": {"model": str(tiny_model)}}
    editor.send(method="workspace/didChangeConfiguration", params={"settings": settings})
    await editor.complete(2)
    assert len(seen) == 1
    assert sum(message.get("method") == "window/showMessage" for message in editor.sent) == 1


async def test_shutdown_answers_running_requests(editor: Editor, tiny_model: Path) -> None:
    await editor.start(model=str(tiny_model), debounce_ms=1000)
    position = {"line": 0, "character": 15}
    params = {"textDocument": {"uri": URI}, "position": position, "context": {"triggerKind": 1}}
    editor.send(id=1, method="textDocument/inlineCompletion", params=params)
    editor.send(id=2, method="shutdown")
    answer = await editor.until(lambda message: message.get("id") == 1)
    assert answer["error"]["code"] == -32800
    assert (await editor.until(lambda message: message.get("id") == 2))["result"] is None


async def test_no_model_is_loaded_while_suggestions_are_switched_off(
    editor: Editor, tiny_model: Path
) -> None:
    await editor.start(enabled=False, model=str(tiny_model))
    assert (await editor.complete(1))["result"] == {"items": []}
    assert not any(message.get("method") == "window/workDoneProgress/create" for message in editor.sent)
    editor.send(method="workspace/didChangeConfiguration", params={"settings": {"enabled": True}})
    await editor.until(lambda message: message.get("method") == "window/workDoneProgress/create")


async def test_only_the_answer_to_the_latest_request_for_settings_is_used(
    editor: Editor, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Editor, "answers_itself", False)
    monkeypatch.setitem(INLINE, "workspace", {"configuration": True})
    await editor.start(enabled=False)

    async def asked(number: int) -> object:
        def questions() -> list[Message]:
            return [message for message in editor.sent if message.get("method") == "workspace/configuration"]

        await editor.until(lambda _: len(questions()) > number)
        return questions()[number]["id"]

    first = await asked(0)
    editor.send(method="workspace/didChangeConfiguration", params={"settings": None})
    second = await asked(1)
    editor.send(id=second, result=[{"threads": -1}])
    await editor.until(lambda message: message.get("method") == "window/showMessage")
    editor.send(id=first, result=[{"max_tokens": 0}])
    editor.send(method="workspace/didChangeConfiguration", params={"settings": None})
    editor.send(id=await asked(2), error={"code": -1, "message": "not now"})
    await editor.until(lambda message: "not now" in str(message.get("params")))
    editor.send(method="workspace/didChangeConfiguration", params={"settings": None})
    editor.send(id=await asked(3), result=[5], error="both")
    await editor.ask(9, "mercury/work", None)
    told = [
        message["params"]["message"]
        for message in editor.sent
        if message.get("method") == "window/showMessage"
    ]
    assert len(told) == 1 and "threads" in told[0]
    assert "unexpected" not in caplog.text
