"""Runs the server as a process: stdin and stdout, or a socket, its log, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread, Timer
from typing import BinaryIO, NoReturn

from mercury_lsp.engine.system import wait_for_exit
from mercury_lsp.lsp.listening import Reception, tcp_socket, unix_socket
from mercury_lsp.lsp.protocol import Writer, frames
from mercury_lsp.lsp.server import boundary, serve
from mercury_lsp.session.session import Session
from mercury_lsp.tokens import Tokens

log = logging.getLogger(__name__)

GRACE = 0.6  # seconds that the process has for its end
STUCK = 0.3  # seconds without a step of the loop, after which it does not get to an `exit`
_EXIT = re.compile(rb'"method"\s*:\s*"exit"')  # quotes within a text are escaped: this is a message's own


def run_stdio(overrides: Mapping[str, object] | None = None) -> NoReturn:
    """Serve the client on stdin and stdout, then end the process. `overrides` are settings no client can change."""
    log_to_stderr()
    # What a library prints must not come between two messages.
    stdout = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    async def main() -> int:
        reader, loop = read_from(sys.stdin.fileno(), hurry), asyncio.get_running_loop()

        def end() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(reader.feed_eof)

        return await serve(frames(reader), Output(stdout), overrides, lambda id_: watch(id_, end), hurry)

    with suppress(KeyboardInterrupt):
        leave(asyncio.run(main()))
    leave(130)


def run_tcp(
    host: str, port: int, tokens: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> NoReturn:
    """Serve each client that connects and has a token, with a session and a model of its own, until interrupted.

    Without `tokens` there is a new one, which is told on stderr. Port 0 is any free one. A client's `exit` ends its
    connection. Raises `OSError` where it cannot listen.
    """
    log_to_stderr()
    listening = tcp_socket(host, port)
    print("listening on {}:{}".format(*listening.getsockname()), file=sys.stderr, flush=True)
    if not tokens:
        token = secrets.token_urlsafe(24)
        print(f"token {token}", file=sys.stderr, flush=True)
        tokens = {token: ""}
    _run(listening, tokens, overrides)


def run_socket(
    path: Path, tokens: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> NoReturn:
    """As `run_tcp`, on a Unix socket that only this user can open; without `tokens` none is needed.

    Raises `OSError` where it cannot listen.
    """
    log_to_stderr()
    listening = unix_socket(path)
    print(f"listening on {path}", file=sys.stderr, flush=True)
    _run(listening, tokens, overrides)


def _run(
    listening: socket.socket, tokens: Mapping[str, str], overrides: Mapping[str, object] | None
) -> NoReturn:
    # Not a client's: what one says must not change what the log tells of the others.
    logging.getLogger("mercury_lsp").setLevel(Session(overrides).config.log_level.upper())

    async def serve_client(messages: AsyncIterator[bytes], writer: Writer) -> None:
        await serve(messages, writer, overrides, shared=True)

    reception = Reception(Tokens(tokens), serve_client)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with boundary("serving a client"):
            await reception.connected(reader, writer)

    async def main() -> None:
        await (await asyncio.start_server(connected, sock=listening)).serve_forever()

    with suppress(KeyboardInterrupt):
        asyncio.run(main())
    leave(130)


def watch(process: int, end: Callable[[], None]) -> None:
    """Call `end` when the editor's process is gone, and end this one within `GRACE`, whatever runs here.

    Its end of stdin does not tell: another process may have inherited it.
    """
    if not 0 < process < 1 << 31 or process == os.getpid():
        return

    def wait() -> None:
        wait_for_exit(process)
        log.warning("The editor's process %d has ended.", process)
        hurry(1)
        end()

    Thread(target=wait, name="editor", daemon=True).start()


def log_to_stderr() -> None:
    """Log to stderr, and leave out pygls, whose errors reach `report_server_error`, and whose news quote documents."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("pygls").setLevel(logging.CRITICAL)


def leave(status: int) -> NoReturn:
    """End the process at once: a worker inside of torch must not see the interpreter being torn down around it."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


def hurry(status: int) -> None:
    """End the process within `GRACE`, whatever runs then: a thread in another library's code cannot be stopped."""
    timer = Timer(GRACE, os._exit, (status,))
    timer.daemon = True
    timer.start()


def read_from(descriptor: int, ending: Callable[[int], None] = lambda status: None) -> asyncio.StreamReader:
    """A reader of what a thread reads from a file descriptor: the one way that works for all kinds on all platforms.

    The thread may be blocked when the process ends. So it reads the descriptor itself: a daemon thread that holds
    the lock of `sys.stdin` would be fatal to the interpreter's end. `ending` is told, in that thread, the status with
    which to end when the stream ends, or when `exit` has come and the loop does not get to read it.
    """
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()

    def left(taken: Event) -> None:
        if not taken.wait(STUCK):
            ending(1)

    def pump() -> None:
        tail = b""
        with suppress(RuntimeError):  # the loop is closed
            with suppress(OSError):
                while chunk := os.read(descriptor, 1 << 16):
                    loop.call_soon_threadsafe(reader.feed_data, chunk)
                    if _EXIT.search(tail + chunk):
                        loop.call_soon_threadsafe((taken := Event()).set)
                        Thread(target=left, args=(taken,), name="exit", daemon=True).start()
                    tail = chunk[-40:]
            ending(1)
            loop.call_soon_threadsafe(reader.feed_eof)

    Thread(target=pump, name="stdin", daemon=True).start()
    return reader


class Output:
    """A binary file as pygls' writer. When nobody reads it any more, what is written is dropped."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """Write it all, now."""
        with suppress(OSError, ValueError):  # the client is gone, or the file closed
            self._file.write(data)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()
