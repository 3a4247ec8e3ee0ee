"""The load test against a small local server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mercury_lsp.bench.scenes import scenes
from model.loadtest import load
from model.loadtest.load import Page, Plan, Run, figures, retries
from model.loadtest.typing_model import Typing

FAST = Typing(gap=0.02, spread=0.5, burst=10, pause=0.1)


@contextmanager
def serving(pause: float = 0.0, fails: bool = False) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Start a service that answers after ``pause`` seconds; yield its address and the bodies it receives."""
    seen: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(pause)
            usage = {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 75},
            }
            self._send(503 if fails and len(seen) % 2 else 200, json.dumps({"usage": usage}))

        def do_GET(self) -> None:
            self._send(200, f"mercury_retries_total {float(len(seen) > 0)}\n")

        def _send(self, status: int, text: str) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:
                # The request was superseded.
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_page_is_typed_key_by_key_from_its_scene() -> None:
    page, scene = Page(3), scenes()[3]
    pages = [page.key() for _ in range(len(scene.text))]
    for number, (before, after) in enumerate(pages[:5], 1):
        assert before == scene.text[: scene.start + number]
        assert after == scene.text[scene.text.find("\n", scene.start + number) :]
    # At the end, the typing starts again.
    assert pages[len(scene.text) - scene.start - 1] == pages[0]


def test_every_request_is_answered_and_counted() -> None:
    plan = Plan(3, 1.0, FAST, patient=True)
    with serving() as (url, seen):
        run = Run(url, plan)
        asyncio.run(run.drive())
    found = figures(run)
    assert found["sent"] == found["answered"] == len(seen) > 20
    assert found["lost"] == found["superseded"] == 0 and found["loop"] == "open"
    assert found["cached_share"] == 0.75
    assert 0 < found["ms"]["p50"] <= found["ms"]["p95"] <= found["ms"]["p99"]
    assert {body["prompt_cache_key"] for body in seen} == {"typist-0", "typist-1", "typist-2"}


def test_a_newer_key_cancels_the_request_of_the_one_before() -> None:
    with serving(pause=0.3) as (url, _):
        run = Run(url, Plan(1, 1.0, FAST))
        asyncio.run(run.drive())
    found = figures(run)
    # At least the last request is answered.
    assert found["superseded"] > found["answered"] >= 1
    assert found["sent"] == found["superseded"] + found["answered"]


def test_in_a_closed_loop_each_typist_waits_for_the_answer() -> None:
    with serving(pause=0.1) as (url, seen):
        run = Run(url, Plan(2, 0.5, closed=True, first=7))
        asyncio.run(run.drive())
    assert figures(run)["answered"] == len(seen) <= 12
    assert {body["prompt_cache_key"] for body in seen} == {"typist-7", "typist-8"}
    assert [request.first for request in run.requests].count(True) == 2


def test_failed_requests_are_lost_and_set_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(fails=True) as (url, _):
        status = load.main([url, "--closed", "--typists", "1", "--seconds", "0.5", "--json"])
    (report,) = json.loads(capsys.readouterr().out)["runs"]
    assert status == 1
    assert report["lost"] == report["errors"]["503"] >= 1
    assert report["retried"] == 1
    with serving() as (url, _):
        assert load.main([url, "--typists", "1", "--seconds", "0.5", "--gap", "0.1"]) == 0
    assert "answers/s" in capsys.readouterr().out


def test_without_a_server_all_requests_are_lost() -> None:
    run = Run("http://127.0.0.1:9", Plan(1, 0.2, closed=True))
    asyncio.run(run.drive())
    assert figures(run)["errors"] == {"ConnectError": len(run.requests)} != {"ConnectError": 0}


@pytest.mark.parametrize(
    "arguments",
    [[], ["http://x", "--replicas", "2"], ["http://x", "--kill-one-at", "3"], ["http://x", "--typists", "0"]],
)
def test_invalid_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load.main(arguments)
    assert ended.value.code == 2


def test_retries_are_read_from_the_metrics() -> None:
    assert retries("# HELP mercury_retries_total x\nmercury_retries_total 3.0\n") == 3
    assert retries("other 1\n") is None
