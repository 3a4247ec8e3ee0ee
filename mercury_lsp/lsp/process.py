"""Runs the server as a process: its streams or sockets, its log, and its end."""

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
from mercury_lsp.lsp.listening import ConnectionGate, tcp_socket, unix_socket
from mercury_lsp.lsp.protocol import Writer, frames
from mercury_lsp.lsp.server import error_boundary, serve
from mercury_lsp.session.session import Session
from mercury_lsp.tokens import Tokens

log = logging.getLogger(__name__)

# Seconds that the process may take to end.
EXIT_SECONDS = 0.6
# Seconds without a turn of the event loop, after which the loop counts as unable to handle `exit`.
LOOP_STUCK_SECONDS = 0.3
# Quotes inside of strings are escaped, so this matches only the message's own method.
_EXIT = re.compile(rb'"method"\s*:\s*"exit"')


def run_stdio(overrides: Mapping[str, object] | None = None) -> NoReturn:
    """Serve the client on stdin and stdout, then end the process. No client can change the settings in `overrides`."""
    log_to_stderr()
    # Output that a library prints must not get between two messages.
    stdout = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    async def main() -> int:
        reader, loop = stream_reader(sys.stdin.fileno(), exit_soon), asyncio.get_running_loop()

        def end() -> None:
            # The loop is closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(reader.feed_eof)

        return await serve(
            frames(reader), OutputWriter(stdout), overrides, lambda id_: watch_process(id_, end), exit_soon
        )

    with suppress(KeyboardInterrupt):
        exit_now(asyncio.run(main()))
    exit_now(130)


def run_tcp(
    host: str, port: int, tokens: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> NoReturn:
    """Serve each client that connects with a valid token, with a session and a model of its own, until interrupted.

    Without `tokens` a new one is generated and printed to stderr. Port 0 selects any free port. A client's `exit` ends
    only its connection. Raises `OSError` if it cannot listen.
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
    """Serve clients as `run_tcp` does, on a Unix socket that only this user can open; without `tokens` none is needed.

    Raises `OSError` if it cannot listen.
    """
    log_to_stderr()
    listening = unix_socket(path)
    print(f"listening on {path}", file=sys.stderr, flush=True)
    _run(listening, tokens, overrides)


def _run(
    listening: socket.socket, tokens: Mapping[str, str], overrides: Mapping[str, object] | None
) -> NoReturn:
    # The level comes from no client: a client must not change what the log records of the others.
    logging.getLogger("mercury_lsp").setLevel(Session(overrides).config.log_level.upper())

    async def serve_client(messages: AsyncIterator[bytes], writer: Writer) -> None:
        await serve(messages, writer, overrides, shared=True)

    gate = ConnectionGate(Tokens(tokens), serve_client)

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with error_boundary("serving a client"):
            await gate.serve_connection(reader, writer)

    async def main() -> None:
        await (await asyncio.start_server(serve_connection, sock=listening)).serve_forever()

    with suppress(KeyboardInterrupt):
        asyncio.run(main())
    exit_now(130)


def watch_process(process: int, end: Callable[[], None]) -> None:
    """Call `end` when the editor's process ends, and end this process within `EXIT_SECONDS` whatever it is doing.

    The end of stdin is not a sufficient sign: another process may have inherited the other end of the pipe.
    """
    if not 0 < process < 1 << 31 or process == os.getpid():
        return

    def wait() -> None:
        wait_for_exit(process)
        log.warning("The editor's process %d has ended.", process)
        exit_soon(1)
        end()

    Thread(target=wait, name="editor", daemon=True).start()


def log_to_stderr() -> None:
    """Log to stderr. Silence pygls: its errors reach `report_server_error`, and its other records quote documents."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("pygls").setLevel(logging.CRITICAL)


def exit_now(status: int) -> NoReturn:
    """End the process at once: a worker inside of torch could crash if the interpreter were torn down around it."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


def exit_soon(status: int) -> None:
    """End the process within `EXIT_SECONDS`, whatever runs then: a thread inside another library cannot be stopped."""
    timer = Timer(EXIT_SECONDS, os._exit, (status,))
    timer.daemon = True
    timer.start()


def stream_reader(
    descriptor: int, on_end: Callable[[int], None] = lambda status: None
) -> asyncio.StreamReader:
    """Return a stream of a file descriptor's bytes, which a thread reads: this works for all files on all platforms.

    The thread may be blocked when the process ends, so it reads the descriptor itself: a daemon thread that holds the
    lock of `sys.stdin` would make the interpreter's end fatal. `on_end` is called in that thread with the exit status
    when the stream ends, or when `exit` has arrived and the event loop is too busy to handle it.
    """
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()

    def check_handled(handled: Event) -> None:
        if not handled.wait(LOOP_STUCK_SECONDS):
            on_end(1)

    def read_chunks() -> None:
        tail = b""
        # The loop is closed.
        with suppress(RuntimeError):
            with suppress(OSError):
                while chunk := os.read(descriptor, 1 << 16):
                    loop.call_soon_threadsafe(reader.feed_data, chunk)
                    if _EXIT.search(tail + chunk):
                        loop.call_soon_threadsafe((handled := Event()).set)
                        Thread(target=check_handled, args=(handled,), name="exit", daemon=True).start()
                    tail = chunk[-40:]
            on_end(1)
            loop.call_soon_threadsafe(reader.feed_eof)

    Thread(target=read_chunks, name="stdin", daemon=True).start()
    return reader


class OutputWriter:
    """A binary file with the interface of `Writer`. Output after the reader has left is dropped."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """Write and flush all bytes."""
        # The client has disconnected, or the file is closed.
        with suppress(OSError, ValueError):
            self._file.write(data)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()
