"""The end of the process: at any moment, whatever runs, within a second."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import Process, at, frame

LIMIT = 1.0  # seconds, on a machine that has nothing else to do
SLACK = 2.0  # seconds more on one that has: a process may have to wait for its turn
LINES = ("(" * 20_000, "f'{" * 7_000, '"' * 20_000, "/*" * 10_000, "${" * 10_000)

STUCK = """
import sys, threading, time
from mercury_lsp.lsp import process, server
def busy():
    while True: sum(range(10_000))
async def stuck(*_):
    for _ in range(4): threading.Thread(target=busy, daemon=True).start()
    sys.stderr.write("stuck\\n"); sys.stderr.flush()
    while True: time.sleep(0.01)
process.serve = stuck
process.run_stdio()
"""


def test_it_ends_at_twenty_moments_under_load(launch: Callable[..., Process], model: Path) -> None:
    dice, took = random.Random(4), []
    for moment in range(20):
        server = launch(model)
        way = ("exit", "eof", "term")[moment % 3]
        client, process = server.client, server.process
        client.initialize()
        messages = [{"method": "initialized", "params": {}}]
        for i, line in enumerate(LINES):
            item = {"uri": f"file:///w/{i}.py", "languageId": "python", "version": 1, "text": line}
            messages.append({"method": "textDocument/didOpen", "params": {"textDocument": item}})
            messages.append(
                {
                    "id": 50 + i,
                    "method": "textDocument/inlineCompletion",
                    "params": at(item["uri"], 0, len(line)),
                }
            )
        client.write(frame(*messages))
        time.sleep(dice.uniform(0.0, 1.5))
        began = time.monotonic()
        if way == "exit":
            client.write(frame({"method": "exit"}))
        elif way == "eof":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        process.wait(30)
        took.append(time.monotonic() - began)
    assert max(took) < LIMIT + SLACK
    assert sorted(took)[10] < LIMIT + SLACK / 2


@pytest.mark.parametrize("end", ["exit", "eof"])
def test_it_ends_though_the_loop_never_gets_to_read(end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        while b"stuck" not in process.stderr.readline():
            pass
        began = time.monotonic()
        process.stdin.write(frame({"method": "exit"}))
        process.stdin.flush()
        if end == "eof":
            process.stdin.close()
        assert process.wait(30) == 1
        assert time.monotonic() - began < LIMIT + SLACK


def test_a_text_that_only_looks_like_an_exit_ends_nothing(launch: Callable[..., Process]) -> None:
    server = launch()
    server.client.start(options={"max_tokens": 8})
    server.client.open('{"jsonrpc": "2.0", "method": "exit"}', "file:///w/exit.json", "json")
    time.sleep(1.2)
    assert server.client.is_served()
    assert server.end() == 0
