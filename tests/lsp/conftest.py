"""Test client that exchanges raw bytes with a real server process, started as an editor starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import IO, Any

import pytest
from support.models.tiny_models import WORD

COMMAND = [sys.executable, "-m", "mercury_lsp", "--stdio"]
# Seconds after which a test counts as stuck; no test here measures time with it.
PATIENCE = 120.0
INLINE: dict[str, Any] = {
    "window": {"workDoneProgress": True},
    "textDocument": {"inlineCompletion": {}},
}
Message = dict[str, Any]


def frame(*messages: Message) -> bytes:
    """Encode the messages as frames of JSON-RPC, concatenated."""
    bodies = [json.dumps({"jsonrpc": "2.0", **message}).encode() for message in messages]
    return b"".join(b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)


class Client:
    """Client that answers the server's requests automatically.

    ``told``: the server's notifications. ``asked``: the methods of its requests. ``answers``: all its answers by id.
    ``questions``: the questions it shows to the user, each answered with ``choice``.
    """

    def __init__(self, to_server: IO[bytes], from_server: IO[bytes], settings: object = None) -> None:
        self._to, self._from, self._settings = to_server, from_server, settings
        self._inbox: Queue[Message | None] = Queue()
        self._last_id = 0
        self.told: list[Message] = []
        self.asked: list[str] = []
        self.questions: list[Message] = []
        self.choice: Message | None = None
        self.answers: dict[object, list[Message]] = {}
        Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        length = 0
        # A connection that is reset has ended, too.
        with suppress(OSError):
            while line := self._from.readline():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                elif not line.strip():
                    self._inbox.put(json.loads(self._from.read(length)))
        self._inbox.put(None)

    def write(self, data: bytes) -> None:
        self._to.write(data)
        self._to.flush()

    def notify(self, method: str, params: object) -> None:
        self.write(frame({"method": method, "params": params}))

    def ask(self, method: str, params: object) -> Message:
        """Send a request and return the complete answer."""
        id_ = self.new_id()
        self.write(frame({"id": id_, "method": method, "params": params}))
        return self.answer(id_)

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def answer(self, id_: object) -> Message:
        """Read messages until a request is answered; return its first answer."""
        self.until(lambda: id_ in self.answers)
        return self.answers[id_][0]

    def until(self, fulfilled: Callable[[], bool]) -> None:
        """Read messages until a condition holds."""
        while not fulfilled():
            message = self._inbox.get(timeout=PATIENCE)
            assert message is not None, "the server closed the connection"
            if "method" not in message:
                self.answers.setdefault(message["id"], []).append(message)
            elif "id" not in message:
                self.told.append(message)
            else:
                self.asked.append(message["method"])
                result: object = [self._settings] if message["method"] == "workspace/configuration" else None
                if message["method"] == "window/showMessageRequest":
                    self.questions.append(message["params"])
                    result = self.choice
                self.write(frame({"id": message["id"], "result": result}))

    def initialize(
        self, capabilities: Message = INLINE, options: Message | None = None, root: str | None = None
    ) -> Message:
        """Send `initialize` without `initialized`; return the server's capabilities."""
        params: Message = {"processId": os.getpid(), "rootUri": root, "capabilities": capabilities}
        params["initializationOptions"] = {
            "deadline_ms": 60_000,
            # No test fails because the machine is busy.
            **(options or {}),
        }
        return self.ask("initialize", params)["result"]["capabilities"]

    def start(
        self, capabilities: Message = INLINE, options: Message | None = None, root: str | None = None
    ) -> Message:
        """Initialize, wait until the model is loaded, and return the server's capabilities."""
        offered = self.initialize(capabilities, options, root)
        self.notify("initialized", {})
        self.until(lambda: "end" in self.progress())
        return offered

    def progress(self) -> list[str]:
        """Return the kinds of the progress notifications so far."""
        return [m["params"]["value"]["kind"] for m in self.told if m["method"] == "$/progress"]

    def open(self, text: str, uri: str = "file:///w/a.txt", language: str = "plaintext") -> str:
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})
        return uri

    def complete(self, uri: str, line: int, character: int) -> list[Message]:
        """Request ghost text manually and return the first item, if any.

        The number of further items depends on time.
        """
        return self.ask("textDocument/inlineCompletion", at(uri, line, character))["result"]["items"][:1]

    def messages(self) -> list[str]:
        """Read everything that the server has sent, and return the messages shown to the user."""
        self.ask("mercury/documentDigest", {"textDocument": {"uri": ""}})
        return [m["params"]["message"] for m in self.told if m["method"] == "window/showMessage"]

    def is_served(self) -> bool:
        """Return whether the server still suggests what the test model writes."""
        items = self.complete(self.open("some words and ", "file:///w/alive.txt"), 0, 15)
        return [item["insertText"] for item in items] == [WORD]


def at(uri: str, line: int, character: int) -> Message:
    position = {"line": line, "character": character}
    return {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 1}}


def change(uri: str, version: int, text: str, start: tuple[int, int], end: tuple[int, int]) -> Message:
    range_ = {name: {"line": p[0], "character": p[1]} for name, p in (("start", start), ("end", end))}
    item = {"uri": uri, "version": version}
    params = {"textDocument": item, "contentChanges": [{"range": range_, "text": text}]}
    return {"method": "textDocument/didChange", "params": params}


class Process:
    """A server process and its client."""

    def __init__(self, model: Path, settings: object = None, command: list[str] = COMMAND) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MERCURY_MODEL": str(model)},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.client = Client(self.process.stdin, self.process.stdout, settings)

    def end(self) -> int:
        """Shut down, and wait for the process."""
        assert self.client.ask("shutdown", None)["result"] is None
        self.client.write(frame({"method": "exit"}))
        return self.process.wait(PATIENCE)


@pytest.fixture
def launch(model: Path) -> Iterator[Callable[..., Process]]:
    """Return a function that starts servers, which are killed after the test."""
    started: list[Process] = []

    def start(model: Path = model, settings: object = None, command: list[str] = COMMAND) -> Process:
        started.append(Process(model, settings, command))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="session")
def shared(model: Path) -> Iterator[Process]:
    """Start one server, with its model loaded, for all tests that do not change its state."""
    server = Process(model)
    server.client.start(options={"max_tokens": 8})
    yield server
    assert server.end() == 0


@pytest.fixture
def client(shared: Process) -> Client:
    """Return the client of the shared server, after a check that the server still runs."""
    assert shared.process.poll() is None
    return shared.client
