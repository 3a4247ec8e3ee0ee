"""Measures the servers under load and attack, each part once.

    python -m model.loadtest.attack --model mini
    python -m model.loadtest.attack --only kills --kills 25

``clients``: so many clients ask ``serve`` at once; each must be answered or refused with 429, and ``/health`` answer
meanwhile. ``streams``: so many clients leave a streamed answer after its first piece; soon nothing may run any more,
and the next client be answered. ``kills``: the language server is killed at so many random moments of its first
seconds, with one folder for its caches and its history; the server that is started after each must answer. ``files``: a
workspace of so many files; the first answer's time and the server's memory. The exit status is 1 where one of these
does not hold. Times count only on a quiet machine.
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
QUIET_SECONDS = 10.0  # after which nothing that nobody waits for may run
CODE = "def area(width, height):\n    return "
BODY = {"prompt": CODE, "suffix": "\n", "max_tokens": 16, "temperature": 0}
PATIENT = {"deadline_ms": 60_000, "max_tokens": 8}
Figures = tuple[bool, str]
"""Whether a part holds, and its sentence."""
Part = Callable[[str, int], Coroutine[None, None, Figures]]


@asynccontextmanager
async def service(model: str) -> AsyncIterator[httpx2.AsyncClient]:
    """``mercury-lsp serve`` in a process of its own, and a client of it."""
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
    """All ask at once."""
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
    """Each is left after its first piece."""
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
    """Requests that are being answered, and tasks that are computed or wait, by the service's own metrics."""
    text = (await client.get("/metrics")).text
    names = r"mercury_(?:requests_running|tasks_running|tasks_waiting)"
    return sum(float(value) for value in re.findall(rf"^{names}(?:\{{[^}}]*\}})? (\S+)", text, re.MULTILINE))


async def kills(model: str, count: int) -> Figures:
    """A server is killed, and the next one has to answer."""
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
    """The command of a server whose caches, state and settings are in a folder, which its arguments name."""
    homes = [f"XDG_{kind}_HOME={folder / kind.lower()}" for kind in ("CACHE", "STATE", "CONFIG", "DATA")]
    return ("env", *homes, *SERVER)


def _processes(name: str) -> list[int]:
    """The processes that have a text in their environment."""
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
    """What a new server suggests in a folder."""
    settings = {**PATIENT, "model": model, "history_days": 90}
    async with Editor.start(folder, settings, command) as editor:
        await editor.wait_until_loaded()
        buffer = Buffer(editor, (folder / "area.py").as_uri(), "python", CODE)
        return (await buffer.complete(len(CODE), invoked=True)).text


async def files(model: str, count: int) -> Figures:
    """A workspace of so many files."""
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
"""The parts, with how many of each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model.loadtest.attack", description="Figures of the servers under load and attack."
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
