"""Clients of the HTTP service that are slow, many or endless: each costs little, and none keeps the others out."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx2
import pytest
from support.servers.http_service import Scripted, served

from mercury_lsp.http.backend import Update
from mercury_lsp.http.connections import MAX_HEADER_BYTES, ConnectionLimits
from mercury_lsp.http.settings import ServiceSettings

FAST = ConnectionLimits(head_s=0.3, body_s=0.3, answer_s=1.0)
PATIENCE = 30.0
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"prompt": "x"}'


@contextmanager
def connected(client: httpx2.Client) -> Iterator[socket.socket]:
    with socket.create_connection((client.base_url.host, client.base_url.port), PATIENCE) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    """All that the server says until it closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize(
    "endless",
    [b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"GET /", b"", b"GET /health HTTP/1.1\r\nX-", POST],
)
@pytest.mark.parametrize("filler", [b"y" * 65536, b"Header: value\r\n" * 4000])
def test_endless_heads_end_at_64_kib(endless: bytes, filler: bytes) -> None:
    with served(Scripted()) as client, connected(client) as connection:
        sent, answer = 0, b""
        try:
            connection.sendall(endless)
            while sent < 100 * MAX_HEADER_BYTES:
                sent += connection.send(filler)
        except ConnectionError:
            pass
        answer = rest(connection)
        assert sent < 100 * MAX_HEADER_BYTES  # what the sockets hold, and no more, was taken
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        assert client.get("/health").status_code == 200


def test_a_body_of_countless_chunks_holds_nobody_up() -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    with served(Scripted()) as client:
        with connected(client) as connection:
            began = time.monotonic()
            with suppress(ConnectionError):
                connection.sendall(chunked + b"1\r\n \r\n" * 300_000)
            rest(connection)
            assert client.get("/health").status_code == 200
            assert time.monotonic() - began < 5  # 30 s, where all are taken
        with connected(client) as connection:
            pieces = (b'{"prompt": ', b'"x"', b"}", *[b" "] * 1000)
            sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            connection.sendall(
                chunked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + sent + b"0\r\n\r\n"
            )
            assert b"200 OK" in rest(connection)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n",
        b"\r\n\r\n",
        POST + b"Content-Length: 15\r\n\r\n",
        POST + b"Content-Length: 15\r\n\r\n" + BODY[:7],
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
        POST + b"Content-Length: 15\r\n\r\n" + BODY + b"GET /hea",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n",
    ],
)
def test_half_a_request_is_given_up_in_time(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with served(Scripted(), limits=FAST) as client, connected(client) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        rest(connection)
        assert time.monotonic() - began < 20
        assert client.get("/health").status_code == 200
        if b"/health HTTP/1.1\r\nHost: localhost\r\nContent" not in sent:
            time.sleep(1.2)  # lines about refusals come once a second
            assert (
                any("ended 1 connections of 127.0.0.1: its " in line for line in caplog.messages)
                or sent == b"\r\n\r\n"
            )


@pytest.mark.parametrize("phase", ["head", "body"])
def test_a_trickle_does_not_buy_time(phase: str) -> None:
    begin, pieces = (
        (POST, b"X: y\r\n") if phase == "head" else (POST + b"Content-Length: 99999\r\n\r\n", b" ")
    )
    with served(Scripted(), limits=FAST) as client, connected(client) as connection:
        connection.sendall(begin)
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(400):
                connection.sendall(pieces)
                time.sleep(0.05)
        assert client.get("/health").status_code == 200


def test_a_body_that_is_late_is_408() -> None:
    with served(Scripted(), ServiceSettings(body_s=0.2)) as client, connected(client) as connection:
        connection.sendall(POST + b"Content-Length: 15\r\n\r\n" + BODY[:7])
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer


def test_who_does_not_read_its_answer_is_given_up() -> None:
    backend = Scripted(*(Update("x" * 1_000_000, 1_000_000 * i) for i in range(20)), Update("x", 1, "stop"))
    with served(backend, limits=FAST) as client, connected(client) as connection:
        body = b'{"prompt": "x", "stream": true, "diffusing": true}'
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        assert backend.ended.wait(PATIENCE)
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("half", [b"", b"GET /hea", POST, POST + b"Content-Length: 15\r\n\r\n{"])
def test_half_open_connections_do_not_keep_others_out(half: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    limits = ConnectionLimits(max_connections=40, max_per_address=20)
    with served(Scripted(), limits=limits) as client:
        address = (client.base_url.host, client.base_url.port)
        crowd = []
        for _ in range(100):
            crowd.append(socket.create_connection(address, PATIENCE))
            crowd[-1].sendall(half)
            if len(crowd) % 20 == 0:
                assert client.post("/v1/completions", json={"prompt": "x"}).status_code == 200
        assert rest(crowd[0]) == b""  # it had to make room
        time.sleep(1.2)
        assert any("too many connections of one address" in line for line in caplog.messages)
        for one in crowd:
            one.close()


def test_answers_that_are_awaited_are_not_given_up_for_newcomers() -> None:
    backend = Scripted(Update("a", 1), Update("ab", 2, "stop"))
    backend.go_on.clear()
    limits = ConnectionLimits(max_per_address=3)
    with served(backend, limits=limits) as client, connected(client) as waiting:
        waiting.sendall(POST + b"Connection: close\r\nContent-Length: 15\r\n\r\n" + BODY)
        assert backend.begun.wait(PATIENCE)
        crowd = [socket.create_connection(waiting.getpeername(), PATIENCE) for _ in range(10)]
        backend.go_on.set()
        assert b"200 OK" in rest(waiting)
        for one in crowd:
            one.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  /health HTTP/1.1\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        POST + b"Host: evil\r\nContent-Length: 15\r\n\r\n" + BODY,
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_http_costs_its_connection(sent: bytes) -> None:
    with served(Scripted(), limits=FAST) as client:
        with connected(client) as connection:
            connection.sendall(sent)
            answer = rest(connection)
        assert answer == b"" or answer.startswith(
            tuple(b"HTTP/1.1 %d " % status for status in (200, 400, 403, 404))
        )
        assert (b" 200 " in answer) is (b"websocket" in sent)  # the upgrade is not heard, the rest is
        assert client.get("/health").status_code == 200
