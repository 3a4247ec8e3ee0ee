"""Turns bytes into messages and back: framing, JSON-RPC, and answers to a client that gets either wrong.

pygls leaves some broken messages unanswered and loses its place in the stream after others. Here each request has
exactly one answer, and whatever comes, reading goes on with the next message.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any
from typing import Protocol as Interface

from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcParseError,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol

# A message's length above it is a broken header.
MAX_MESSAGE_BYTES = 1 << 26
NO_VERSION = -(1 << 31)  # of a document whose client does not number its changes
_HEADER = 100  # bytes that a header may have at the end of a line
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,12})\s*$", re.IGNORECASE)
_FIELD = re.compile(rb"(content-length|content-type):[ \t]*([\x21-\x7e \t]{0,99}?)[ \t]*\r?\n", re.IGNORECASE)

log = logging.getLogger(__name__)


class Writer(Interface):
    """Where the answers go; `asyncio.StreamWriter` is one."""

    def write(self, data: bytes, /) -> None:
        """Send bytes."""

    def close(self) -> None:
        """End."""


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The bodies of the messages, until the stream ends.

    A header may stand at the end of any line: after a broken frame the next header follows the rest of a body.
    """
    length: int | None = None
    while True:
        try:
            line = await _line(reader)
            if header := _LENGTH.search(line):
                length = int(header[1])
            elif length is not None and not line.strip():
                if length <= MAX_MESSAGE_BYTES:
                    yield await reader.readexactly(length)
                length = None
        except (asyncio.IncompleteReadError, OSError):
            return


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, of one that is too long for a header its end. Raises `IncompleteReadError` at the stream's end."""
    before = b""
    while True:
        try:
            return before + await reader.readuntil()
        except asyncio.LimitOverrunError as error:
            # `readline` would throw away all that has come, and the header with it.
            before = (before + await reader.readexactly(error.consumed))[-_HEADER:]


class Broken(Exception):
    """A stream whose next bytes cannot be a message; the message says why, in words that quote nothing."""


async def strict_frames(
    reader: asyncio.StreamReader, largest: int = MAX_MESSAGE_BYTES
) -> AsyncIterator[bytes]:
    """The bodies of the messages of a socket, which anyone on this machine, and any web page, can write to.

    Unlike `frames`, which finds its place again after garbage, this takes a header only where one must stand, and
    whole: nothing that an HTTP request can hold is ever a message. Raises `Broken`.
    """
    while (body := await strict_frame(reader, largest)) is not None:
        yield body


async def strict_frame(reader: asyncio.StreamReader, largest: int) -> bytes | None:
    """The body of the next message, of so many bytes at most; None at the stream's end. Raises `Broken`."""
    fields: dict[bytes, bytes] = {}
    try:
        while (line := await reader.readuntil()) not in (b"\r\n", b"\n"):
            field = _FIELD.fullmatch(line)
            if field is None or (name := field[1].lower()) in fields:
                raise Broken("a line is no header field of the protocol")
            fields[name] = field[2]
        length = fields.get(b"content-length", b"")
        if not length.isdigit() or len(length) > 12:
            raise Broken("a message has no length")
        if int(length) > largest:
            raise Broken(f"a message has more than {largest} bytes")
        return await reader.readexactly(int(length))
    except asyncio.LimitOverrunError:
        raise Broken("a line is no header field of the protocol") from None
    except (asyncio.IncompleteReadError, OSError):
        return None


def framed(message: object) -> bytes:
    """A message's bytes, with its header."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def refusal(id_: object, sentence: str) -> dict[str, object]:
    """An answer to what cannot be read, or is not allowed. Its id is null where the request had none to be read."""
    error = {"code": JsonRpcInvalidRequest.CODE, "message": sentence}
    return {"jsonrpc": "2.0", "id": id_ if _is_id(id_) else None, "error": error}


class Protocol(LanguageServerProtocol):
    """pygls' protocol without documents of its own, and with an answer to every request.

    `exit_code` is None until the client's `exit`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.exit_code: int | None = None
        self._initialized = False
        # By us; pygls keeps them among the client's own requests.
        self._asked: dict[int | str, Future[Any]] = {}
        for method in (
            # pygls splits lines where the protocol does not, and moves positions that are out of range in place.
            types.TEXT_DOCUMENT_DID_OPEN,
            types.TEXT_DOCUMENT_DID_CHANGE,
            types.TEXT_DOCUMENT_DID_CLOSE,
            # pygls would keep all notebooks for itself, and stumbles over a token that is none.
            types.NOTEBOOK_DOCUMENT_DID_OPEN,
            types.NOTEBOOK_DOCUMENT_DID_CHANGE,
            types.NOTEBOOK_DOCUMENT_DID_CLOSE,
            types.WINDOW_WORK_DONE_PROGRESS_CANCEL,
        ):
            del self.fm.builtin_features[method]
        self.fm.add_builtin_feature(types.EXIT, self._exit)
        self.fm.add_builtin_feature(types.WORKSPACE_EXECUTE_COMMAND, self._execute)

    async def _execute(self, params: types.ExecuteCommandParams) -> Any:
        """Run a command as one task, which a cancellation ends.

        pygls runs a command apart from its request: a cancelled command went on, and its `shutdown` failed then.
        """
        if (command := self.fm.commands.get(params.command)) is None:
            raise JsonRpcInvalidParams("There is no such command.")
        result = command(*(params.arguments or ()))
        return await result if inspect.isawaitable(result) else result

    def _exit(self, _: object) -> None:
        """Only note it: whoever reads the messages ends."""
        self.exit_code = 0 if self._shutdown else 1

    def receive(self, body: bytes) -> None:
        """Handle one message's body."""
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as wrong:
            self._refuse(None, JsonRpcParseError.of(wrong))
            return
        if not _is_message(message):
            id_ = message.get("id") if isinstance(message, dict) and "method" in message else None
            error = JsonRpcInvalidRequest("This is no message of JSON-RPC 2.0.")
            self._refuse(id_ if _is_id(id_) else None, error)
        elif "method" in message:
            self._receive_call(message)
        else:
            self._receive_answer(message)

    def _receive_call(self, message: dict[str, Any]) -> None:
        method = message["method"]
        if method == types.INITIALIZED:
            message.setdefault("params", {})  # some clients leave them out, and no work would begin
        try:
            self._check(method)
            if message.get("id") in self._request_futures:
                raise JsonRpcInvalidRequest("A request with this id is still open.")
            self.handle_message(self._structured(message))
        except JsonRpcException as error:
            if "id" in message:
                self._refuse(message["id"], error)
            elif not method.startswith("$/"):  # those may be ignored, says the protocol
                log.info("Ignored %s: %s", method, error)
        else:
            self._initialized |= method == types.INITIALIZE

    def _receive_answer(self, message: dict[str, Any]) -> None:
        """Take the answer to a request of ours."""
        future = self._asked.get(message.get("id", ""))
        if future is None:
            log.info("Ignored an answer to nothing.")
            return
        try:
            self.handle_message(self._structured(message))
        except JsonRpcException as error:
            future.set_exception(error)

    def send_request(
        self,
        method: str,
        params: Any = None,
        callback: Callable[[Any], None] | None = None,
        msg_id: int | str | None = None,
    ) -> Future[Any]:
        """As pygls does it, but that what the client answers can only be meant for us."""
        id_ = str(uuid.uuid4()) if msg_id is None else msg_id
        future: Future[Any] = super().send_request(method, params, callback, id_)
        self._asked[id_] = self._request_futures.pop(id_)
        future.add_done_callback(lambda _: self._forget(id_))
        return future

    def _forget(self, id_: int | str) -> None:
        self._asked.pop(id_, None)
        self._result_types.pop(id_, None)

    def _handle_response(self, msg_id: int | str, result: Any = None, error: Any = None) -> None:
        """Pygls hands in here the client's answer to a request of ours."""
        future = self._asked[msg_id]
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(JsonRpcException.from_error(error))

    def _handle_cancel_notification(self, msg_id: Any) -> None:
        """Pygls hands in here which request the client cancels; it stays open until it is answered."""
        if _is_id(msg_id) and (future := self._request_futures.get(msg_id)) is not None:
            future.cancel()

    async def settle(self) -> None:
        """Cancel the requests that are still open, and wait until they are answered."""
        tasks: list[Any] = [f for f in self._request_futures.values() if isinstance(f, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _check(self, method: str) -> None:
        """Raise the error for a method that we lack, or that may not be called now."""
        if method not in (types.INITIALIZE, types.EXIT) and not self._initialized:
            raise JsonRpcServerNotInitialized("The first request must be initialize.")
        if method == types.INITIALIZE and self._initialized:
            raise JsonRpcInvalidRequest("The server is initialized already.")
        if self._shutdown and method != types.EXIT:
            raise JsonRpcInvalidRequest("The server is shut down.")
        if method not in {*self.fm.builtin_features, *self.fm.features, types.CANCEL_REQUEST}:
            raise JsonRpcMethodNotFound.of(method)

    def _structured(self, message: dict[str, Any]) -> Any:
        """The message as pygls' types. Raises `JsonRpcInvalidParams`.

        JSON-RPC lets parameters be left out; pygls wants them of methods that are not the protocol's own.
        """
        try:
            return self.structure_message(
                {"params": None} | _filled(message) if "method" in message else message
            )
        except JsonRpcException as error:
            raise JsonRpcInvalidParams(f"The parameters of {message.get('method')} are wrong.") from error

    def _refuse(self, id_: object, error: JsonRpcException) -> None:
        """Answer with an error. The id is null, and not left out, where the request had none that could be read."""
        log.log(logging.WARNING if id_ is None else logging.INFO, "Refused a message: %s", error)
        body = {"code": error.code, "message": error.message}
        self._send_data({"jsonrpc": self.VERSION, "id": id_, "error": body})


def _filled(message: dict[str, Any]) -> dict[str, Any]:
    """A message about a document's text with what some clients send as null, or leave out, though they must not.

    A change that is dropped is worse than one without a number: all later ones would hit another text.
    """
    params = message.get("params")
    if message["method"] not in (types.TEXT_DOCUMENT_DID_OPEN, types.TEXT_DOCUMENT_DID_CHANGE):
        return message
    if not isinstance(params, dict) or not isinstance(params.get("textDocument"), dict):
        return message
    document = params["textDocument"]
    if document.get("version") is None:
        document = {**document, "version": NO_VERSION}
    params = {**params, "textDocument": document}
    if isinstance(changes := params.get("contentChanges"), list):
        params["contentChanges"] = [
            {name: part for name, part in change.items() if part is not None}
            if isinstance(change, dict)
            else change
            for change in changes
        ]
    return {**message, "params": params}


def _is_message(message: object) -> bool:
    return (
        isinstance(message, dict)
        and message.get("jsonrpc") == "2.0"
        and isinstance(message.get("method", ""), str)
        and _is_id(message.get("id", 0))
    )


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
