"""Converts between bytes and messages: framing, JSON-RPC, and responses to malformed messages.

pygls leaves some malformed messages unanswered, and loses the message boundary in the stream after others. Here each
request gets exactly one response, and reading continues with the next message whatever arrives.
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

# A header that announces a longer message is taken as broken.
MAX_MESSAGE_BYTES = 1 << 26
# The version of a document whose client does not number its changes.
NO_VERSION = -(1 << 31)
# The longest header, in bytes, that is recognized at the end of a line.
_MAX_HEADER_BYTES = 100
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,12})\s*$", re.IGNORECASE)
_FIELD = re.compile(rb"(content-length|content-type):[ \t]*([\x21-\x7e \t]{0,99}?)[ \t]*\r?\n", re.IGNORECASE)

log = logging.getLogger(__name__)


class Writer(Interface):
    """The output stream of a client; `asyncio.StreamWriter` satisfies this interface."""

    def write(self, data: bytes, /) -> None:
        """Send bytes."""

    def close(self) -> None:
        """Close the stream."""


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the bodies of the messages until the stream ends.

    A header may stand at the end of any line, because after a broken frame the next header follows the rest of a body.
    """
    length: int | None = None
    while True:
        try:
            line = await _read_line(reader)
            if header := _LENGTH.search(line):
                length = int(header[1])
            elif length is not None and not line.strip():
                if length <= MAX_MESSAGE_BYTES:
                    yield await reader.readexactly(length)
                length = None
        except (asyncio.IncompleteReadError, OSError):
            return


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line, or only the end of a line that is too long for a header.

    Raises `IncompleteReadError` at the end of the stream.
    """
    before = b""
    while True:
        try:
            return before + await reader.readuntil()
        except asyncio.LimitOverrunError as error:
            # `readline` would discard all buffered bytes, and the header with them.
            before = (before + await reader.readexactly(error.consumed))[-_MAX_HEADER_BYTES:]


class FramingError(Exception):
    """Raised if the next bytes of a stream cannot be a message. The text gives the reason and quotes no bytes."""


async def strict_frames(
    reader: asyncio.StreamReader, max_bytes: int = MAX_MESSAGE_BYTES
) -> AsyncIterator[bytes]:
    """Yield the bodies of the messages of a socket, which any local process and any web page can write to.

    Unlike `frames`, which resynchronizes after garbage, it accepts only complete headers at their proper place: nothing
    that an HTTP request can contain is ever taken for a message. Raises `FramingError`.
    """
    while (body := await strict_frame(reader, max_bytes)) is not None:
        yield body


async def strict_frame(reader: asyncio.StreamReader, max_bytes: int) -> bytes | None:
    """Return the body of the next message, of at most `max_bytes`; None at the stream's end. Raises `FramingError`."""
    fields: dict[bytes, bytes] = {}
    try:
        while (line := await reader.readuntil()) not in (b"\r\n", b"\n"):
            field = _FIELD.fullmatch(line)
            if field is None or (name := field[1].lower()) in fields:
                raise FramingError("a line is no header field of the protocol")
            fields[name] = field[2]
        length = fields.get(b"content-length", b"")
        if not length.isdigit() or len(length) > 12:
            raise FramingError("a message has no length")
        if int(length) > max_bytes:
            raise FramingError(f"a message has more than {max_bytes} bytes")
        return await reader.readexactly(int(length))
    except asyncio.LimitOverrunError:
        raise FramingError("a line is no header field of the protocol") from None
    except (asyncio.IncompleteReadError, OSError):
        return None


def encode_message(message: object) -> bytes:
    """Return the bytes of a message with its header."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def refusal_response(id_: object, sentence: str) -> dict[str, object]:
    """Return the error response to an invalid or forbidden message; its id is null unless the message has one."""
    error = {"code": JsonRpcInvalidRequest.CODE, "message": sentence}
    return {"jsonrpc": "2.0", "id": id_ if _is_id(id_) else None, "error": error}


class Protocol(LanguageServerProtocol):
    """The protocol of pygls without its document store, and with exactly one response to each request.

    `exit_code` is None until the client sends `exit`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.exit_code: int | None = None
        self._initialized = False
        # The server's own requests, which pygls keeps in one dictionary with those of the client.
        self._own_requests: dict[int | str, Future[Any]] = {}
        for method in (
            # pygls splits lines at characters where the protocol does not, and clamps positions in place.
            types.TEXT_DOCUMENT_DID_OPEN,
            types.TEXT_DOCUMENT_DID_CHANGE,
            types.TEXT_DOCUMENT_DID_CLOSE,
            # pygls would store all notebooks, and fails at a progress token that it does not know.
            types.NOTEBOOK_DOCUMENT_DID_OPEN,
            types.NOTEBOOK_DOCUMENT_DID_CHANGE,
            types.NOTEBOOK_DOCUMENT_DID_CLOSE,
            types.WINDOW_WORK_DONE_PROGRESS_CANCEL,
        ):
            del self.fm.builtin_features[method]
        self.fm.add_builtin_feature(types.EXIT, self._exit)
        self.fm.add_builtin_feature(types.WORKSPACE_EXECUTE_COMMAND, self._execute)

    async def _execute(self, params: types.ExecuteCommandParams) -> Any:
        """Run a command within the task of its request, so that a cancellation ends it.

        The inherited handler runs a command in a separate task, which a cancellation or `shutdown` does not end.
        """
        if (command := self.fm.commands.get(params.command)) is None:
            raise JsonRpcInvalidParams("There is no such command.")
        result = command(*(params.arguments or ()))
        return await result if inspect.isawaitable(result) else result

    def _exit(self, _: object) -> None:
        """Set only the exit code; the loop that reads the messages ends."""
        self.exit_code = 0 if self._shutdown else 1

    def receive(self, body: bytes) -> None:
        """Handle the body of one message."""
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
            self._receive_response(message)

    def _receive_call(self, message: dict[str, Any]) -> None:
        method = message["method"]
        if method == types.INITIALIZED:
            # Some clients leave the parameters out; pygls would reject the message, and no work would begin.
            message.setdefault("params", {})
        try:
            self._check_method(method)
            if message.get("id") in self._request_futures:
                raise JsonRpcInvalidRequest("A request with this id is still open.")
            self.handle_message(self._structure(message))
        except JsonRpcException as error:
            if "id" in message:
                self._refuse(message["id"], error)
            # The protocol allows notifications whose names start with `$/` to be ignored.
            elif not method.startswith("$/"):
                log.info("Ignored %s: %s", method, error)
        else:
            self._initialized |= method == types.INITIALIZE

    def _receive_response(self, message: dict[str, Any]) -> None:
        """Pass a response of the client to the request of ours that it answers."""
        future = self._own_requests.get(message.get("id", ""))
        if future is None:
            log.info("Ignored an answer to nothing.")
            return
        try:
            self.handle_message(self._structure(message))
        except JsonRpcException as error:
            future.set_exception(error)

    def send_request(
        self,
        method: str,
        params: Any = None,
        callback: Callable[[Any], None] | None = None,
        msg_id: int | str | None = None,
    ) -> Future[Any]:
        """Send a request as pygls does, but keep its future apart from those of the client's requests."""
        id_ = str(uuid.uuid4()) if msg_id is None else msg_id
        future: Future[Any] = super().send_request(method, params, callback, id_)
        self._own_requests[id_] = self._request_futures.pop(id_)
        future.add_done_callback(lambda _: self._forget(id_))
        return future

    def _forget(self, id_: int | str) -> None:
        self._own_requests.pop(id_, None)
        self._result_types.pop(id_, None)

    def _handle_response(self, msg_id: int | str, result: Any = None, error: Any = None) -> None:
        """Resolve the future of a request of ours; pygls calls this with the client's response."""
        future = self._own_requests[msg_id]
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(JsonRpcException.from_error(error))

    def _handle_cancel_notification(self, msg_id: Any) -> None:
        """Cancel a request of the client; it stays open until it is answered."""
        if _is_id(msg_id) and (future := self._request_futures.get(msg_id)) is not None:
            future.cancel()

    async def cancel_requests(self) -> None:
        """Cancel all open requests, and wait until they are answered."""
        tasks: list[Any] = [f for f in self._request_futures.values() if isinstance(f, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _check_method(self, method: str) -> None:
        """Raise the error for a method that is unknown or not allowed in the current state."""
        if method not in (types.INITIALIZE, types.EXIT) and not self._initialized:
            raise JsonRpcServerNotInitialized("The first request must be initialize.")
        if method == types.INITIALIZE and self._initialized:
            raise JsonRpcInvalidRequest("The server is initialized already.")
        if self._shutdown and method != types.EXIT:
            raise JsonRpcInvalidRequest("The server is shut down.")
        if method not in {*self.fm.builtin_features, *self.fm.features, types.CANCEL_REQUEST}:
            raise JsonRpcMethodNotFound.of(method)

    def _structure(self, message: dict[str, Any]) -> Any:
        """Return the message as an object of pygls' types. Raises `JsonRpcInvalidParams`.

        JSON-RPC allows the parameters to be left out; pygls requires them for methods outside the protocol.
        """
        try:
            return self.structure_message(
                {"params": None} | _with_defaults(message) if "method" in message else message
            )
        except JsonRpcException as error:
            raise JsonRpcInvalidParams(f"The parameters of {message.get('method')} are wrong.") from error

    def _refuse(self, id_: object, error: JsonRpcException) -> None:
        """Send an error response. Its id is null, rather than missing, if the request had no readable id."""
        log.log(logging.WARNING if id_ is None else logging.INFO, "Refused a message: %s", error)
        body = {"code": error.code, "message": error.message}
        self._send_data({"jsonrpc": self.VERSION, "id": id_, "error": body})


def _with_defaults(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with defaults for fields that some clients wrongly send as null or leave out.

    Applies to `didOpen` and `didChange`. Dropping a change would be worse than accepting one without a version: all
    later changes would hit another text.
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
