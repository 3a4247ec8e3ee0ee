"""From bytes to messages and back: framing, JSON-RPC, and what is answered to a client that gets either wrong.

pygls leaves some broken messages unanswered and loses its place in the stream after others. Here each request has
exactly one answer, and whatever comes, reading goes on with the next message. Knows nothing of completions.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
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

LARGEST = 1 << 28  # bytes: a message's length above it is a broken header
_HEADER = 100  # bytes that a header may have at the end of a line
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,12})\s*$", re.IGNORECASE)

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
                if length <= LARGEST:
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


class Protocol(LanguageServerProtocol):
    """pygls' protocol without documents of its own, and with an answer to every request.

    `exit_code` is None until the client's `exit`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.exit_code: int | None = None
        self._initialized = False
        for method in (
            types.TEXT_DOCUMENT_DID_OPEN,
            types.TEXT_DOCUMENT_DID_CHANGE,
            types.TEXT_DOCUMENT_DID_CLOSE,
        ):  # pygls splits lines where the protocol does not, and moves positions that are out of range in place
            del self.fm.builtin_features[method]
        self.fm.add_builtin_feature(types.EXIT, self._exit)

    def _exit(self, _: object) -> None:
        """Only note it: whoever reads the messages ends."""
        self.exit_code = 0 if self._shutdown else 1

    def receive(self, body: bytes) -> None:
        """Handle one message's body."""
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            self._refuse(None, JsonRpcParseError.of(error))
            return
        if not _is_message(message):
            self._refuse(None, JsonRpcInvalidRequest("This is no message of JSON-RPC 2.0."))
            return
        method = message.get("method")
        if method == types.INITIALIZED:
            message.setdefault("params", {})  # some clients leave them out, and no work would begin
        try:
            if method is not None:
                self._check(method)
            self.handle_message(self._structured(message))
        except JsonRpcException as error:
            if "id" in message and method is not None:
                self._refuse(message["id"], error)
            elif not str(method).startswith("$/"):  # those may be ignored, says the protocol
                log.info("Ignored %s: %s", method or "an answer", error)
        else:
            self._initialized |= method == types.INITIALIZE

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
        """The message as pygls' types. Raises `JsonRpcInvalidParams`."""
        try:
            return self.structure_message(message)
        except JsonRpcException as error:
            raise JsonRpcInvalidParams(f"The parameters of {message.get('method')} are wrong.") from error

    def _refuse(self, id_: object, error: JsonRpcException) -> None:
        """Answer with an error. The id is null, and not left out, where the request had none that could be read."""
        log.log(logging.WARNING if id_ is None else logging.INFO, "Refused a message: %s", error)
        body = {"code": error.code, "message": error.message}
        self._send_data({"jsonrpc": self.VERSION, "id": id_, "error": body})


def _is_message(message: object) -> bool:
    return (
        isinstance(message, dict)
        and message.get("jsonrpc") == "2.0"
        and isinstance(message.get("method", ""), str)
        and isinstance(message.get("id", 0), (int, str))
    )
