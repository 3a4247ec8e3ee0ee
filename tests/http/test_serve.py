"""`mercury-lsp serve` as a process: the arguments it refuses, the line it prints, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from mercury_lsp.cli.main import main


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command; yield its process and the address that it prints when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mercury_lsp", "serve", "--port", "0", "--threads", "1", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        address = re.fullmatch(r"mercury-lsp serves on (http://127\.0\.0\.1:\d+)\n", line)
        assert address, line + process.stderr.read()
        yield process, address[1]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_running_requests_complete_and_new_ones_are_refused(
    tiny_model: Path, sign: int
) -> None:
    with serving("--model", str(tiny_model)) as (process, address):
        asked = {"prompt": "x = 1\n", "max_tokens": 250, "stream": True, "temperature": 1, "seed": 1}
        with (
            httpx2.Client(base_url=address, timeout=60) as client,
            client.stream("POST", "/v1/completions", json=asked) as answer,
        ):
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(sign)
            while (health := httpx2.get(f"{address}/health", timeout=60)).json()["status"] != "stopping":
                pass
            assert health.status_code == 503
            late = httpx2.post(f"{address}/v1/completions", json={"prompt": "x"}, timeout=60)
            assert late.status_code == 503
            assert late.json()["error"]["message"] == "The server is stopping."
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2][6:])["choices"][0]["finish_reason"] in ("stop", "length")
        assert process.wait(60) == 0
        assert process.stderr is not None
        log = process.stderr.read()
        assert len(log.splitlines()) == 2
        assert re.search(r"^\S+ \S+ - /v1/completions 200 \d+ ms \d+ tokens \d+ passes$", log, re.MULTILINE)


def test_900_half_open_requests_neither_block_others_nor_delay_the_end(tiny_model: Path) -> None:
    with serving("--model", str(tiny_model)) as (process, address):
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        halves = (head, head + b"Content-Length: 99\r\n\r\n{", b"")
        crowd = []
        # More connections than the server keeps for one address.
        for number in range(900):
            crowd.append(socket.create_connection(place, 60))
            crowd[-1].sendall(halves[number % 3])
        asked = {"prompt": "x = 1\n", "max_tokens": 2}
        assert httpx2.post(f"{address}/v1/completions", json=asked, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 0
        # Without the signal the time limits of these requests are 10 and 30 s.
        assert time.monotonic() - began < 10
        for one in crowd:
            one.close()
        assert process.stderr is not None
        assert "connections of 127.0.0.1: too many connections of one address" in process.stderr.read()


def test_tokens_are_read_from_a_file_or_the_environment(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("sesame ann\n")
    for arguments, environment in (
        (("--token-file", str(file)), {}),
        ((), {"MERCURY_TOKENS": "sesame ann"}),
    ):
        with serving("--model", str(tiny_model), *arguments, **environment) as (process, address):
            body = {"prompt": "x = 1\n", "max_tokens": 2}
            assert httpx2.post(f"{address}/v1/completions", json=body, timeout=60).status_code == 401
            headers = {"Authorization": "Bearer sesame"}
            found = httpx2.post(f"{address}/v1/completions", json=body, headers=headers, timeout=60)
            assert found.status_code == 200
            process.terminate()
            assert process.wait(60) == 0
            assert process.stderr is not None
            log = process.stderr.read()
            assert " ann /v1/completions 200 " in log
            assert "sesame" not in log


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_without_tokens_only_a_loopback_host_is_accepted(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MERCURY_TOKENS", raising=False)
    assert main(["serve", "--host", host]) == 2
    assert "needs tokens: give --token-file" in capsys.readouterr().err


def test_invalid_arguments_are_refused_with_one_sentence(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for status, *arguments in (
        (1, "--model", str(tmp_path)),
        (1, "--model", str(tiny_model), "--device", "cuda:7"),
        (2, "--token-file", str(tmp_path / "none")),
        (2, "--port", "99999"),
        (2, "--max-running", "0"),
    ):
        assert main(["serve", *(["--port", "0"] if "--port" not in arguments else []), *arguments]) == status
        error = capsys.readouterr().err
        assert error.startswith("mercury-lsp: ") and error.count("\n") == 1


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_the_serve_extra_the_error_says_how_to_install_it(missing: str) -> None:
    hidden = f"import sys; sys.modules[{missing!r}] = None"
    code = f"{hidden}\nfrom mercury_lsp.cli.main import main\nsys.exit(main(['serve']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr
        == f'mercury-lsp: mercury-lsp serve needs {missing}. Install it with: pip install "mercury-lsp[serve]"\n'
    )
