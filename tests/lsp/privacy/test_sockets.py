"""Clients that connect: who is let in, who is not, and that nobody can keep the others out."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mercury_lsp.lsp.listening import MAX_CLIENTS, MAX_PENDING

from ..conftest import COMMAND, INLINE, PATIENCE, Client, frame

Message = dict[str, Any]
SESAME = "sesame-0123456789"
INITIALIZE: Message = {
    "id": 1,
    "method": "initialize",
    "params": {
        "processId": None,
        "rootUri": None,
        "capabilities": {},
        "initializationOptions": {"token": SESAME},
    },
}


class Listening:
    """A server process, its address, and a way to connect to it."""

    def __init__(self, process: subprocess.Popen[str], address: str | tuple[str, int]) -> None:
        self.process, self.address = process, address

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        connection.settimeout(PATIENCE)
        connection.connect(self.address)
        return connection

    @contextmanager
    def client(self) -> Iterator[Client]:
        with self.connect() as connection:
            stream = connection.makefile("rwb")
            try:
                yield Client(stream, stream)
            finally:
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, sent: bytes) -> bytes:
        """All that the server says to some bytes until it closes the connection, though the client does not."""
        with self.connect() as connection:
            try:
                connection.sendall(sent)
                return b"".join(iter(lambda: connection.recv(4096), b""))
            except ConnectionError:
                return b""


@contextmanager
def listening(model: Path, *arguments: str) -> Iterator[Listening]:
    command = [*COMMAND[:-1], *arguments]
    environment = {**os.environ, "MERCURY_MODEL": str(model)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        told = re.fullmatch(r"listening on (?:127\.0\.0\.1:(\d+)|(/.*))\n", line)
        assert told, line + process.stderr.read()
        try:
            yield Listening(process, told[2] or ("127.0.0.1", int(told[1])))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def tcp(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"other-{SESAME} ann\n{SESAME} bob\n")
    with listening(model, "--tcp", "--port", "0", "--token-file", str(tokens)) as server:
        yield server


def is_open(server: Listening) -> bool:
    """Whether a client with a token is let in."""
    with server.client() as client:
        return "inlineCompletionProvider" in client.initialize(INLINE, {"token": SESAME})


BODY = frame(INITIALIZE, {"id": 2, "method": "shutdown"})


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
        b"POST / HTTP/1.1\r\nReferer: http://x/?Content-Length: %d\r\n\r\n%s" % (len(BODY[22:]), BODY[22:]),
        b"GET /?%s HTTP/1.1\r\n\r\n" % BODY.replace(b"\r\n", b"%0d%0a").replace(b" ", b"+"),
        b"\r\n" + BODY,
        b"Host: x\r\n" + BODY,
        b"\x16\x03\x01" + BODY,
        b"x" * 100_000 + b"\r\n" + BODY,
        b"Content-Length: 99999999999\r\n\r\n",
        b"Content-Length: 2000000\r\n\r\n",
    ],
)
def test_http_and_garbage_end_the_connection_without_a_word(sent: bytes, tcp: Listening) -> None:
    assert tcp.answer(sent) == b""
    assert is_open(tcp)


def with_options(options: object) -> bytes:
    return frame({**INITIALIZE, "params": {**INITIALIZE["params"], "initializationOptions": options}})


@pytest.mark.parametrize(
    "sent",
    [
        with_options(None),
        with_options({}),
        with_options({"token": ""}),
        with_options({"token": SESAME[:-1]}),
        with_options({"token": SESAME + "\n"}),
        with_options({"token": [SESAME]}),
        with_options({"token": "\ud800"}),
        with_options([{"token": SESAME}]),
        frame({"id": 1, "method": "initialize"}),
        frame({"id": 1, "method": "initialize", "params": []}),
        frame({"method": "initialize", "params": INITIALIZE["params"]}),
        frame({"id": 1, "method": "textDocument/inlineCompletion", "params": {}}, INITIALIZE),
        frame({"method": "exit"}, INITIALIZE),
        b"Content-Length: 2\r\n\r\n[]",
        b"Content-Length: 4\r\n\r\n[[[[",
    ],
)
def test_without_the_token_nothing_is_answered_but_one_refusal(sent: bytes, tcp: Listening) -> None:
    answer = tcp.answer(sent)
    assert answer.count(b"Content-Length") == 1
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == -32600 and SESAME not in error["message"]
    assert is_open(tcp)


CALM: Message = {"token": SESAME, "deadline_ms": 60_000}


@pytest.mark.parametrize("options", [CALM, {"mercury": CALM}])
def test_a_client_with_the_token_is_served_and_the_token_goes_no_further(
    options: Message, tcp: Listening
) -> None:
    with tcp.client() as client:
        client.start(options=options)
        assert client.is_served()
        assert client.messages() == []  # no complaint of an unknown setting
        assert client.ask("shutdown", None)["result"] is None


def test_garbage_of_a_client_that_was_let_in_ends_its_connection(tcp: Listening) -> None:
    answer = tcp.answer(frame(INITIALIZE) + b"garbage\r\n" + frame({"id": 2, "method": "shutdown"}))
    assert b'"capabilities"' in answer and b'"id": 2' not in answer


def test_strangers_do_not_keep_clients_out(tcp: Listening) -> None:
    strangers = [tcp.connect() for _ in range(2 * MAX_PENDING)]
    assert is_open(tcp)
    assert strangers[0].recv(1) == b""  # the first to come had to go
    for stranger in strangers:
        stranger.close()
    assert is_open(tcp)


def test_there_is_a_limit_on_clients(model: Path, tmp_path: Path) -> None:
    with listening(model, "--socket", str(tmp_path / "socket")) as server:
        clients = [server.connect() for _ in range(MAX_CLIENTS)]
        for client in clients:
            client.sendall(frame(INITIALIZE))
            assert client.recv(8) == b"Content-"
        assert b"clients already" in server.answer(frame(INITIALIZE))
        clients.pop().close()
        while b"clients already" in server.answer(frame(INITIALIZE, {"method": "exit"})):
            pass
        for client in clients:
            client.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such sockets")
def test_a_unix_socket_is_the_users_own_and_needs_no_token(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(model, "--socket", str(path)) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with server.client() as client:
            assert "inlineCompletionProvider" in client.initialize()
        again = subprocess.run([*COMMAND[:-1], "--socket", str(path)], capture_output=True, text=True)
        assert again.returncode == 1 and again.stderr.count("\n") == 1
    assert path.exists()  # the process was killed; the next one finds that nobody listens
    with listening(model, "--socket", str(path)) as server, server.client() as client:
        assert "inlineCompletionProvider" in client.initialize()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such sockets")
@pytest.mark.parametrize("kind", ["file", "folder", "link", "long"])
def test_what_is_no_socket_is_not_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 200 if kind == "long" else "there")
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    done = subprocess.run([*COMMAND[:-1], "--socket", str(path)], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("mercury-lsp: Cannot listen on ")
    assert kind != "file" or path.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
