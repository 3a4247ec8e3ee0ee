"""Accepts clients that connect to a socket, and limits who may connect, how many, and how long they may stay silent."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mercury_lsp.lsp.protocol import (
    FramingError,
    Writer,
    encode_message,
    refusal_response,
    strict_frame,
    strict_frames,
)
from mercury_lsp.tokens import Tokens

# Limited because each client has a model of its own.
MAX_CLIENTS = 16
# Connections that have not yet sent `initialize`.
MAX_PENDING = 32
INITIALIZE_SECONDS = 10.0
MAX_INITIALIZE_BYTES = 1 << 20
# The most output that waits for a client to read it.
MAX_UNREAD_BYTES = 1 << 26

Serve = Callable[[AsyncIterator[bytes], Writer], Awaitable[object]]

log = logging.getLogger(__name__)


class ConnectionGate:
    """Serves each client whose first message is `initialize`, with a valid token if tokens are configured.

    The token is `initializationOptions.token`; it is removed from the message before the message is served. Anything
    else ends the connection: another first message, an invalid byte, an HTTP request, silence. If too many connections
    have not sent `initialize`, the oldest of them is closed, so that nobody can lock clients out by merely connecting.
    """

    def __init__(self, tokens: Tokens, serve: Serve) -> None:
        self._tokens, self._serve = tokens, serve
        # In the order of arrival.
        self._pending: dict[asyncio.StreamWriter, None] = {}
        self._clients = 0

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends. Raises what `serve` raises."""
        try:
            if not _is_same_user(writer):
                log.warning("Refused a connection of another user.")
                return
            self._pending[writer] = None
            while len(self._pending) > MAX_PENDING:
                self._reject(next(iter(self._pending)), "too many have connected and said nothing")
            first = await self._read_initialize(reader, writer)
            if first is None:
                return
            self._clients += 1
            try:
                await self._serve(_prepend(first, strict_frames(reader)), _SocketWriter(writer))
            finally:
                self._clients -= 1
        except FramingError as error:
            self._reject(writer, str(error))
        finally:
            self._pending.pop(writer, None)
            with suppress(OSError):
                writer.close()

    async def _read_initialize(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Return the first message without its token, or None if the connection is to end."""
        try:
            async with asyncio.timeout(INITIALIZE_SECONDS):
                body = await strict_frame(reader, MAX_INITIALIZE_BYTES)
        except TimeoutError:
            raise FramingError(f"no first message came within {INITIALIZE_SECONDS:.0f} s") from None
        if writer not in self._pending or body is None:
            # Closed as the oldest silent connection, or by the client.
            return None
        del self._pending[writer]
        message = _parse_initialize(body)
        sentence = "The first message must be the request initialize."
        if message is not None:
            name = "" if not self._tokens else self._tokens.name(_take_token(message))
            if name is None:
                sentence = "initializationOptions.token must be the token that the server was started with."
            elif self._clients >= MAX_CLIENTS:
                sentence = f"There are {MAX_CLIENTS} clients already."
            else:
                log.info("Let in a client%s.", f" called {name}" if name else "")
                return json.dumps(message).encode()
        log.warning("Refused a connection: %s", sentence)
        writer.write(encode_message(refusal_response(message.get("id") if message else None, sentence)))
        return None

    def _reject(self, writer: asyncio.StreamWriter, reason: str) -> None:
        self._pending.pop(writer, None)
        log.warning("Ended a connection: %s.", reason)
        writer.transport.abort()


class _SocketWriter:
    """A `Writer` that disconnects a client that does not read its output."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._writer.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            log.warning("Ended a connection: the client does not read its answers.")
            self._writer.transport.abort()
        self._writer.write(data)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


def tcp_socket(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; port 0 selects any free one. Raises `OSError`."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    dual_stack = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, dualstack_ipv6=dual_stack)


def unix_socket(path: Path) -> socket.socket:
    """Return a listening Unix socket of mode 0600. Replaces a stale one, on which nobody listens. Raises `OSError`."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        old_umask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(old_umask)
        # Default access control lists of the folder take precedence over the umask.
        path.chmod(0o600)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.getuid():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            try:
                other.settimeout(1)
                other.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
            except OSError:
                pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _is_same_user(writer: asyncio.StreamWriter) -> bool:
    """Return whether the peer of a Unix socket is this user or root: a second check, after the mode of the socket."""
    peer = writer.get_extra_info("socket")
    if sys.platform != "linux" or peer.family != socket.AF_UNIX:
        return True
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] in (os.getuid(), 0)


async def _prepend(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for body in rest:
        yield body


def _parse_initialize(body: bytes) -> dict[str, Any] | None:
    """Return the `initialize` request of a body, or None if the body is anything else."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("method") != "initialize" or "id" not in message:
        return None
    return message


def _take_token(message: dict[str, Any]) -> str:
    """Remove the token from an `initialize` request, and return it; "" if there is none.

    The token may stand directly in the options or in their section `mercury`.
    """
    params = message.get("params")
    options = params.get("initializationOptions") if isinstance(params, dict) else None
    section = options.get("mercury") if isinstance(options, dict) else None
    tokens = [place.pop("token", None) for place in (options, section) if isinstance(place, dict)]
    return next((token for token in tokens if isinstance(token, str)), "")
