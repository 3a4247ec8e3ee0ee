"""Hostile clients of a real ``mercury-lsp serve``: its memory, its log and its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from ..conftest import PATIENCE

POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ASKED = {"prompt": "some words and ", "max_tokens": 4}
linux = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is looked up in /proc")


class Serve:
    """A process of ``mercury-lsp serve``, its address and the lines of its log."""

    def __init__(self, process: subprocess.Popen[str], address: tuple[str, int], log: list[str]) -> None:
        self.process, self.address, self.log = process, address, log
        self.client = httpx2.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=PATIENCE)

    @property
    def megabytes(self) -> int:
        """The resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) >> 10

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)

    def health(self) -> float:
        """Request the health, check that it is ready, and return the seconds that this took."""
        began = time.monotonic()
        assert self.client.get("/health").json() == {"status": "ready"}
        return time.monotonic() - began


@contextmanager
def serving(model: Path, *arguments: str) -> Iterator[Serve]:
    command = [sys.executable, "-m", "mercury_lsp", "serve", "--port", "0", "--model", str(model), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log: list[str] = []
        try:
            while not (told := re.search(r"http://([\d.]+):(\d+)", log[-1] if log else "")):
                log.append(process.stderr.readline())
                assert log[-1], log
            reading = Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
            reading.start()
            yield Serve(process, (told[1], int(told[2])), log)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Serve]:
    with serving(model) as server:
        yield server


@linux
@pytest.mark.parametrize(
    ("begin", "filler", "times"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"y" * 1_000_000, 300),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"a: b\r\n" * 10_000, 100),
        (b"GET /", b"y" * 1_000_000, 100),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"y" * 1_000_000, 100),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 10_000, 50),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"T: y\r\n" * 10_000, 100),
    ],
    ids=["a header of 300 MB", "a million headers", "path", "chunk extension", "chunks", "trailers"],
)
def test_endless_requests_neither_take_memory_nor_delay_others(
    begin: bytes, filler: bytes, times: int, server: Serve
) -> None:
    server.health()
    before = server.megabytes
    with server.connect() as connection:
        connection.sendall(begin)
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(times):
                connection.sendall(filler)
                assert server.health() < 3
    assert server.megabytes - before < 30


def test_1300_half_open_requests_do_not_block_others_and_are_logged(server: Serve) -> None:
    with ExitStack() as stack:
        for number in range(1300):
            with suppress(ConnectionError):
                crowd = stack.enter_context(server.connect())
                crowd.sendall(POST + b"Content-Length: 99\r\n\r\n{" if number % 2 else POST)
            if number % 325 == 324:
                assert httpx2.get(f"{server.client.base_url}/health", timeout=PATIENCE).status_code == 200
    ends = time.monotonic() + PATIENCE
    while not any("too many connections of one address" in line for line in server.log):
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert server.client.post("/v1/completions", json=ASKED).status_code == 200


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_a_slow_body_does_not_delay_the_end_of_the_server(model: Path) -> None:
    with serving(model) as server, server.connect() as slow:
        slow.sendall(POST + b"Content-Length: 99999\r\n\r\n{")
        server.health()
        server.process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + 10
        while server.process.poll() is None and time.monotonic() < ends:
            with suppress(OSError):
                slow.sendall(b" ")
            time.sleep(0.05)
        assert server.process.poll() == 0


@pytest.mark.parametrize("content", ["", "# nobody\n", " \n\n"])
def test_an_empty_token_file_is_a_usage_error(content: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(content)
    command = [sys.executable, "-m", "mercury_lsp", "serve", "--port", "0", "--model", str(model)]
    done = subprocess.run(
        [*command, "--token-file", str(tmp_path / "tokens")], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"stop": "x" * 1_000_000}, 400), ({"stop": ["x" * 1_000_000]}, 400), ({"n": -5}, 422), ({"n": 0}, 422),
     ({"best_of": -1}, 422), ({"n": 1e308}, 400), ({"max_tokens": -1}, 400), ({"seed": "x"}, 400)],
)  # fmt: skip
def test_values_out_of_range_are_refused_at_once(
    changed: dict[str, object], status: int, server: Serve
) -> None:
    answer = server.client.post("/v1/completions", json=ASKED | changed)
    assert answer.status_code == status and answer.elapsed.total_seconds() < 3


def test_200_requests_with_one_token_do_not_block_another_token(model: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("sesame-0001 ann\nsesame-0002 bob\n")
    with serving(model, "--token-file", str(tmp_path / "tokens"), "--max-waiting", "64") as server:

        def ask(number: int) -> int:
            token = "sesame-0002" if number < 0 else "sesame-0001"
            body = ASKED | {"user": str(number), "max_tokens": 64, "temperature": 1.0}
            headers = {"Authorization": f"Bearer {token}"}
            return server.client.post("/v1/completions", json=body, headers=headers).status_code

        with ThreadPoolExecutor(200) as pool:
            ann = [pool.submit(ask, number) for number in range(200)]
            bob = [ask(-1) for _ in range(5)]
            assert bob == [200] * 5
            assert {one.result() for one in ann} <= {200, 429}


@pytest.mark.parametrize(
    ("header", "status"),
    [(("Host", "evil.example"), 403), (("Host", "127.0.0.1.nip.io"), 403), (("Host", "localhost@evil"), 403),
     (("Origin", "http://evil.example"), 403), (("Origin", "null"), 403),
     (("Origin", "http://localhost.evil.example"), 403), (("Sec-Fetch-Site", "cross-site"), 403),
     (("Content-Type", "text/plain"), 415), (("Content-Type", "application/x-www-form-urlencoded"), 415),
     (("Origin", "http://localhost:3000"), 200), (("Host", "LOCALHOST"), 200)],
)  # fmt: skip
def test_without_tokens_requests_of_web_pages_are_refused(
    header: tuple[str, str], status: int, server: Serve
) -> None:
    headers = {"Content-Type": "application/json"} | dict([header])
    answer = server.client.post(
        "/v1/completions", content=b'{"prompt": "x", "max_tokens": 2}', headers=headers
    )
    assert answer.status_code == status
