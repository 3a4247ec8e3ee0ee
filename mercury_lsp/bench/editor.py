"""Runs the real server over stdio, as a headless editor would.

The client uses none of the server's LSP libraries, so that the measurements do not depend on them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from mercury_lsp.errors import Failure
from mercury_lsp.syntax.document import Document

SERVER = (sys.executable, "-m", "mercury_lsp", "--stdio")
MODEL_LOAD_SECONDS = 300.0
# The start of the title of the loading progress.
LOADING_TITLE = "Loading the model"
ANSWER_SECONDS = 60.0
EXIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class GhostText:
    """An answer: a text, possibly empty, that replaces the text between two offsets, and the milliseconds."""

    text: str
    start: int
    end: int
    ms: float


@dataclass(frozen=True, slots=True)
class Draft:
    """A suggestion after a forward pass: the committed text, and the rest with ░ for each mask.

    `position`: the line and the character at which the text would be inserted into `version` of the document.
    """

    version: int
    position: tuple[int, int]
    committed: str
    rest: str
    forward_pass: int


class Editor:
    """A running server and the connection to it. All methods raise `Failure` after the server has ended."""

    def __init__(
        self, process: asyncio.subprocess.Process, on_draft: Callable[[Draft], object] | None = None
    ) -> None:
        self.pid = process.pid
        self._on_draft = on_draft
        self._process = process
        self._ids = count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        # Titles of running progress displays by token.
        self._progress_titles: dict[object, str] = {}
        self._failure = ""
        self._reader = asyncio.create_task(self._read_messages())

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        folder: Path,
        settings: Mapping[str, object],
        command: Sequence[str] = SERVER,
        checkout: Path | None = None,
        on_draft: Callable[[Draft], object] | None = None,
    ) -> AsyncIterator[Editor]:
        """Run an initialized server for a workspace folder during the block.

        `checkout`: a folder of another version of this project, whose modules the command imports. `on_draft`: called
        with each draft; without it the server sends none.
        """
        pipe = asyncio.subprocess.PIPE
        environment = None if checkout is None else {**os.environ, "PYTHONPATH": str(checkout)}
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, env=environment, cwd=checkout
            )
        except OSError as error:
            raise Failure(f"The server cannot be started: {error}.") from error
        editor = cls(process, on_draft)
        try:
            await editor._initialize(folder, settings)
            yield editor
        finally:
            await editor._shut_down()

    async def request(self, method: str, params: object) -> Any:
        """Send a request and return the server's answer. Raises `Failure` for an error or a timeout."""
        request_id = next(self._ids)
        answer = self._pending[request_id] = asyncio.get_running_loop().create_future()
        self._send({"id": request_id, "method": method, "params": params})
        try:
            return await asyncio.wait_for(answer, ANSWER_SECONDS)
        except TimeoutError:
            raise Failure(f"The server has not answered {method} within {ANSWER_SECONDS:.0f} s.") from None
        finally:
            del self._pending[request_id]

    @property
    def running_progress(self) -> frozenset[str]:
        """The titles of running progress displays."""
        return frozenset(self._progress_titles.values())

    def notify(self, method: str, params: object) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    async def wait_until_loaded(self) -> None:
        """Wait until the model is loaded. Raises `Failure` with the server's reason if loading fails."""
        try:
            await asyncio.wait_for(self._loaded.wait(), MODEL_LOAD_SECONDS)
        except TimeoutError:
            raise Failure(f"The model has not been loaded within {MODEL_LOAD_SECONDS:.0f} s.") from None
        # The reason for a failure may follow the end of the progress; any answer comes after both.
        await Buffer(self, "untitled:loaded", "plaintext", "").complete(0)
        if self._failure:
            raise Failure(self._failure)

    async def _initialize(self, folder: Path, settings: Mapping[str, object]) -> None:
        capabilities = {
            # Positions count characters, as in `Document`.
            "general": {"positionEncodings": ["utf-32"]},
            "textDocument": {"inlineCompletion": {}},
            "window": {"workDoneProgress": True},
            "experimental": {"mercury": {"drafts": self._on_draft is not None}},
        }
        params = {
            "processId": os.getpid(),
            "capabilities": capabilities,
            "rootUri": folder.as_uri(),
            "workspaceFolders": [{"uri": folder.as_uri(), "name": folder.name}],
            # The bundled files are not the user's work, so there is no history and no hosted model.
            "initializationOptions": {"history_days": 0, "remote": "off", **settings},
        }
        answer = await self.request("initialize", params)
        if answer["capabilities"].get("positionEncoding") != "utf-32":
            raise Failure("The server does not count positions in characters.")
        self.notify("initialized", {})

    async def _shut_down(self) -> None:
        with suppress(Failure, TimeoutError):
            await asyncio.wait_for(self.request("shutdown", None), EXIT_SECONDS)
            self.notify("exit", None)
        try:
            await asyncio.wait_for(self._process.wait(), EXIT_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    def _send(self, message: dict[str, object]) -> None:
        if self._reader.done():
            raise Failure(f"The server has ended with exit status {self._process.returncode}.")
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async def _read_messages(self) -> None:
        assert self._process.stdout is not None
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await self._process.stdout.readuntil(b"\r\n\r\n")
                size = int(header.lower().partition(b"content-length:")[2].split()[0])
                self._handle_message(json.loads(await self._process.stdout.readexactly(size)))
        ended = f"The server has ended with exit status {await self._process.wait()}."
        self._failure = self._failure or ended
        self._loaded.set()
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(Failure(self._failure))

    def _handle_message(self, message: dict[str, Any]) -> None:
        match message:
            case {"id": request_id, "method": _}:
                # Grant requests, such as the creation of a progress display.
                self._send({"id": request_id, "result": None})
            case {"id": request_id}:
                if (answer := self._pending.get(request_id)) is None or answer.done():
                    return
                if error := message.get("error"):
                    answer.set_exception(Failure(f"The server answered with an error: {error['message']}."))
                else:
                    answer.set_result(message["result"])
            case {"method": "$/progress", "params": {"token": token, "value": {"kind": "begin"}}}:
                self._progress_titles[token] = message["params"]["value"]["title"]
            case {"method": "$/progress", "params": {"token": token, "value": {"kind": "end"}}}:
                if self._progress_titles.pop(token, LOADING_TITLE).startswith(LOADING_TITLE):
                    self._loaded.set()
            case {"method": "mercury/draft", "params": {"done": False}} if self._on_draft:
                params = message["params"]
                place = params["position"]["line"], params["position"]["character"]
                version = params["textDocument"]["version"]
                self._on_draft(Draft(version, place, params["committed"], params["draft"], params["pass"]))
            case {"method": "window/showMessage", "params": {"type": 1, "message": text}}:
                # LSP's MessageType.Error.
                self._failure = text.removeprefix("mercury: ")
                self._loaded.set()


class Buffer:
    """An open document."""

    def __init__(self, editor: Editor, uri: str, language_id: str, text: str) -> None:
        self.document = Document(uri, "", language_id, 1, text)
        self._editor, self._name = editor, {"uri": uri}
        item = {"uri": uri, "languageId": language_id, "version": 1, "text": text}
        editor.notify("textDocument/didOpen", {"textDocument": item})

    def replace(self, start: int, end: int, text: str) -> None:
        """Replace the text between two offsets."""
        old = self.document
        self.document = old.replace(start, end, text, old.version + 1)
        change = {"range": {"start": _position(old, start), "end": _position(old, end)}, "text": text}
        version = {**self._name, "version": self.document.version}
        self._editor.notify("textDocument/didChange", {"textDocument": version, "contentChanges": [change]})

    async def type(self, offset: int, text: str, pause: float = 0.0) -> list[float]:
        """Type a text at an offset; request a suggestion `pause` seconds after each key; return the milliseconds."""
        times = []
        for at, key in enumerate(text, offset):
            self.replace(at, at, key)
            if pause:
                await asyncio.sleep(pause)
            times.append((await self.complete(at + 1)).ms)
        return times

    async def complete(self, offset: int, invoked: bool = False) -> GhostText:
        """Request ghost text at an offset, automatically or manually (`invoked`), and time the answer."""
        params = {
            "textDocument": self._name,
            "position": _position(self.document, offset),
            "context": {"triggerKind": 1 if invoked else 2},
        }
        began = time.perf_counter()
        answer = await self._editor.request("textDocument/inlineCompletion", params)
        ms = (time.perf_counter() - began) * 1e3
        if not answer or not answer["items"]:
            return GhostText("", offset, offset, ms)
        item = answer["items"][0]
        range_ = item["range"]
        start, end = (self.document.offset(*range_[name].values()) for name in ("start", "end"))
        return GhostText(item["insertText"], start, end, ms)

    def close(self) -> None:
        """Close the document."""
        self._editor.notify("textDocument/didClose", {"textDocument": self._name})


def _position(document: Document, offset: int) -> dict[str, int]:
    line, character = document.position(offset)
    return {"line": line, "character": character}
