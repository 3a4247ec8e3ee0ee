"""Tests the servers under load and attack, each part once.

    python -m model.loadtest.attack --model mini
    python -m model.loadtest.attack --only kills --kills 25

``clients``: n clients ask ``serve`` at once; each must be answered or refused with 429, and ``/health`` must answer
meanwhile. ``streams``: n clients disconnect after the first piece of a streamed answer; soon no request may be running,
and the next client must be answered. ``kills``: the language server is killed n times, at random moments of its first
seconds, with one folder for its caches and its history; the server started after each kill must answer. ``files``: the
server gets a workspace of n files, and must answer; the time of the first answer and the memory are measured. The exit
status is 1 if a part fails. Times are valid only on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import httpx2
from rich.console import Console

from mercury_lsp.bench.editor import SERVER, Buffer, Editor
from mercury_lsp.errors import Failure

PATIENCE_SECONDS = 300.0
# Abandoned requests must end within this time.
QUIET_SECONDS = 10.0
CODE = "def area(width, height):\n    return "
BODY = {"prompt": CODE, "suffix": "\n", "max_tokens": 16, "temperature": 0}
PATIENT = {"deadline_ms": 60_000, "max_tokens": 8}
Figures = tuple[bool, str]
"""Whether a part passed, and a sentence with its figures."""
Part = Callable[[str, int], Coroutine[None, None, Figures]]


@asynccontextmanager
async def service(model: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Run ``mercury-lsp serve`` in its own process; yield a client."""
    command = [sys.executable, "-m", "mercury_lsp", "serve", "--port", "0", "--model", model]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        url = None
        while url is None and (line := await process.stderr.readline()):
            url = re.search(rb"https?://[\w.:]+", line)
        if url is None:
            raise Failure("The service has not begun.")
        draining = asyncio.create_task(process.stderr.read())
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(
            base_url=url.group().decode(), timeout=PATIENCE_SECONDS, limits=limits
        ) as client:
            while (await client.get("/health")).status_code != 200:
                await asyncio.sleep(0.2)
            yield client
        draining.cancel()
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def clients(model: str, count: int) -> Figures:
    """Let ``count`` clients ask at once."""
    async with service(model) as client:

        async def ask(number: int) -> str:
            try:
                answer = await client.post("/v1/completions", json={**BODY, "user": str(number)})
            except httpx2.HTTPError as error:
                return type(error).__name__
            return str(answer.status_code)

        async def healthy(done: asyncio.Event) -> float:
            worst = 0.0
            while not done.is_set():
                began = time.perf_counter()
                (await client.get("/health")).raise_for_status()
                worst = max(worst, time.perf_counter() - began)
                await asyncio.sleep(0.1)
            return worst

        done = asyncio.Event()
        health = asyncio.create_task(healthy(done))
        began = time.perf_counter()
        found = Counter(await asyncio.gather(*(ask(number) for number in range(count))))
        took = time.perf_counter() - began
        done.set()
        worst = await health
        last = await ask(0)
    told = ", ".join(f"{number} x {outcome}" for outcome, number in sorted(found.items()))
    return found["200"] > 0 and set(found) <= {"200", "429"} and last == "200", (
        f"{count} clients at once: {told}, in {took:.1f} s; worst /health {worst * 1e3:.0f} ms; afterwards {last}"
    )


async def streams(model: str, count: int) -> Figures:
    """Abandon ``count`` streams after their first piece."""
    async with service(model) as client:
        begun = 0

        async def leave(number: int) -> None:
            nonlocal begun
            asked = {**BODY, "stream": True, "max_tokens": 256, "user": str(number)}
            async with client.stream("POST", "/v1/completions", json=asked) as answer:
                async for _ in answer.aiter_bytes():
                    begun += 1
                    return

        await asyncio.gather(*(leave(number) for number in range(count)))
        began = time.perf_counter()
        while (running := await _running(client)) and time.perf_counter() - began < QUIET_SECONDS:
            await asyncio.sleep(0.05)
        quiet = time.perf_counter() - began
        last = (await client.post("/v1/completions", json=BODY)).status_code
    return running == 0 and last == 200, (
        f"{count} streams left after the first piece ({begun} had one): {running:.0f} running after {quiet:.1f} s; "
        f"afterwards {last}"
    )


async def _running(client: httpx2.AsyncClient) -> float:
    """Return the number of running requests and of running or waiting tasks, by the service's metrics."""
    text = (await client.get("/metrics")).text
    names = r"mercury_(?:requests_running|tasks_running|tasks_waiting)"
    return sum(float(value) for value in re.findall(rf"^{names}(?:\{{[^}}]*\}})? (\S+)", text, re.MULTILINE))


async def kills(model: str, count: int) -> Figures:
    """Kill a server ``count`` times; the next server must answer each time."""
    random, answered = Random(0), 0
    with TemporaryDirectory() as name:
        command = _apart(Path(name))
        for _ in range(count):
            doomed = asyncio.create_task(_answer(Path(name), model, command))
            await asyncio.sleep(random.uniform(0.0, 4.0))
            for process in _processes(name):
                os.kill(process, signal.SIGKILL)
            await asyncio.gather(doomed, return_exceptions=True)
            answered += bool(await _answer(Path(name), model, command))
    return answered == count, f"killed at {count} moments: {answered} of {count} servers after that answer"


def _apart(folder: Path) -> tuple[str, ...]:
    """Return the command of a server whose caches, state and settings are in a folder."""
    homes = [f"XDG_{kind}_HOME={folder / kind.lower()}" for kind in ("CACHE", "STATE", "CONFIG", "DATA")]
    return ("env", *homes, *SERVER)


def _processes(name: str) -> list[int]:
    """Return the ids of the processes whose cache folder is below ``name``, by their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            own = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"XDG_CACHE_HOME={name}".encode() in own:
            found.append(int(folder.name))
    return found


async def _answer(folder: Path, model: str, command: Sequence[str] = SERVER) -> str:
    """Start a new server in a folder; return its suggestion."""
    settings = {**PATIENT, "model": model, "history_days": 90}
    async with Editor.start(folder, settings, command) as editor:
        await editor.wait_until_loaded()
        buffer = Buffer(editor, (folder / "area.py").as_uri(), "python", CODE)
        return (await buffer.complete(len(CODE), invoked=True)).text


async def files(model: str, count: int) -> Figures:
    """Measure a server with a workspace of ``count`` files."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(count):
            file = folder / f"package{number // 1000}" / f"module{number}.py"
            if number % 1000 == 0:
                file.parent.mkdir()
            file.write_text(f"def area_{number}(width, height):\n    return width * height * {number}\n")
        began = time.perf_counter()
        async with Editor.start(folder, {**PATIENT, "model": model}) as editor:
            await editor.wait_until_loaded()
            buffer = Buffer(editor, (folder / "area.py").as_uri(), "python", CODE)
            text = (await buffer.complete(len(CODE), invoked=True)).text
            first = time.perf_counter() - began
            worst = 0.0
            for _ in range(20):
                await asyncio.sleep(0.25)
                buffer.replace(len(CODE), len(CODE), " ")
                worst = max(worst, (await buffer.complete(len(CODE), invoked=True)).ms)
            status = Path(f"/proc/{editor.pid}/status").read_text()
            memory = int(status.partition("VmRSS:")[2].split()[0]) >> 10
            began = time.perf_counter()
        ended = time.perf_counter() - began
    return bool(text), (
        f"{count:,} files: the first answer after {first:.1f} s with the model's loading, the worst of 20 later ones "
        f"{worst:.0f} ms; {memory} MiB; ended in {ended:.1f} s"
    )


PARTS: dict[str, tuple[Part, int]] = {
    "clients": (clients, 200),
    "streams": (streams, 100),
    "kills": (kills, 25),
    "files": (files, 100_000),
}
"""The parts, with the default of n for each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model.loadtest.attack", description="Test the servers under load and attack."
    )
    parser.add_argument("--model", default="mini", help="its name or folder")
    parser.add_argument("--only", choices=PARTS, action="append")
    for name, (_, count) in PARTS.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    given = parser.parse_args(arguments)
    held = True
    for name in given.only or PARTS:
        holds, told = asyncio.run(PARTS[name][0](given.model, getattr(given, name)))
        Console(width=200).print(f"{name}: {'holds' if holds else 'DOES NOT HOLD'}: {told}", highlight=False)
        held = held and holds
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
