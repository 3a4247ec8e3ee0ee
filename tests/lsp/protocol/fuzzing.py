"""A fuzz of the protocol: a real server, over stdio, receives the messages of `messages` and must remain correct.

Checked: the process lives and answers; each request has exactly one answer; the mirrors' documents have the edited
text; stdout has only frames, and the log no unexpected error; memory stays flat. From the command line:
`python -m tests.lsp.protocol.fuzzing --messages 1000000 --seed 7`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any

from .messages import Messages, Sent, frame

COMMAND = [sys.executable, "-m", "mercury_lsp", "--stdio"]
# Seconds without an answer, after which it counts as missing.
PATIENCE = 120.0
# Messages that are sent before all their answers are awaited.
WINDOW = 20
# The part of a session's messages after which all permanent memory is allocated.
SETTLED = 0.3
# Seconds without a message, after which the server has freed the memory it can.
PAUSE = 1.5
# Bytes per message, and bytes. A message that leaked a future or a dictionary entry would take hundreds of bytes; an
# allocator and caches that still grow take some megabytes in all.
GROWTH, SLACK = 64, 20 << 20
# Messages of a session, above which the growth of memory is significant.
LONG = 30_000
OPTIONS = {
    "max_tokens": 4, "threads": 1, "context_tokens": 96,
    "show_likelihood": 0, "deadline_ms": 60_000,
}  # fmt: skip
_HEADER = re.compile(rb"Content-Length: (\d+)\r\n")

Message = dict[str, Any]


class Found(Exception):
    """A fault of the server."""


class Session:
    """One process of the server, and its answers.

    ``open``: the ids of expected answers. ``kept``: complete answers, for the ids that are keys. ``asked``: how often
    the server sent each request. ``shown``: the number of answers with suggestions.
    """

    def __init__(
        self, seed: object, model: Path, log: IO[bytes], environment: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "MERCURY_MODEL": str(model), **(environment or {})},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._to, self._from = self.process.stdin, self.process.stdout
        self._dice = random.Random(f"{seed} answers")
        self._inbox: Queue[Message | str] = Queue()
        self.open: Counter[object] = Counter()
        self.kept: dict[object, Message] = {}
        self.asked: Counter[str] = Counter()
        self.shown = 0
        Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        """Read frames into the inbox, with strict checks."""
        try:
            while line := self._from.readline():
                header = _HEADER.fullmatch(line)
                while (more := self._from.readline()) != b"\r\n":
                    if not re.fullmatch(rb"[\w-]+: .*\r\n", more):
                        header = None
                        break
                if header is None:
                    raise ValueError(f"{line!r} {more!r} on stdout")
                message = json.loads(self._from.read(int(header[1])))
                if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
                    raise ValueError(f"{message!r} is no message")
                self._inbox.put(message)
        except (OSError, ValueError) as error:
            self._inbox.put(f"{type(error).__name__}: {error}")
        self._inbox.put("the server closed its stdout")

    def send(self, *messages: Sent) -> None:
        """Send messages in one write or, sometimes, in two."""
        data = b"".join(message.data for message in messages)
        cut = self._dice.randrange(len(data) + 1) if self._dice.random() < 0.1 else len(data)
        for message in messages:
            self.open.update(message.expected)
        for part in (data[:cut], data[cut:]):
            self._to.write(part)
            self._to.flush()

    def wait_for_answers(self) -> None:
        """Wait until all expected answers have arrived."""
        while self.open.total():
            self._take(PATIENCE)

    def ask(self, id_: object, method: str, params: object) -> Message:
        """Send a request and return the complete answer."""
        self.kept[id_] = {}
        body = json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}).encode()
        self.send(Sent(frame(body), (id_,)))
        while not self.kept[id_]:
            self._take(PATIENCE)
        return self.kept.pop(id_)

    def until(self, fulfilled: Callable[[], bool]) -> None:
        """Read messages until a condition holds."""
        while not fulfilled():
            self._take(PATIENCE)

    def _take(self, patience: float) -> None:
        """Read one message and handle it. Raises `Found` for a fault."""
        try:
            message = self._inbox.get(timeout=patience)
        except Empty:
            raise Found(f"never answered: {self.open}") from None
        if isinstance(message, str):
            raise Found(f"{message}; its exit status is {self.process.poll()}")
        if "method" not in message:
            id_ = message["id"]
            if self.open[id_] < 1:
                raise Found(f"an answer that nobody waits for: {message}")
            self.open[id_] -= 1
            if not self.open[id_]:
                del self.open[id_]
            if id_ in self.kept:
                self.kept[id_] = message
            result = message.get("result")
            self.shown += bool(isinstance(result, dict) and result.get("items"))
        elif "id" in message:
            self.asked[message["method"]] += 1
            self._answer(message)

    def _answer(self, asked: Message) -> None:
        """Answer a request of the server: correctly, wrongly, twice or not at all."""
        right = [OPTIONS] if asked["method"] == "workspace/configuration" else None
        wrong = (
            {"error": {"code": -1, "message": "no"}},
            {"result": [5]},
            {"result": {}},
            {"error": 5},
            {},
            None,
        )
        body = {"result": right} if self._dice.random() < 0.7 else self._dice.choice(wrong)
        if body is not None:
            whole = json.dumps({"jsonrpc": "2.0", "id": asked["id"], **body}).encode()
            self.send(*[Sent(frame(whole))] * self._dice.choice((1, 1, 1, 2)))

    def rss(self) -> int:
        """Return the server's resident memory in bytes, after a pause."""
        time.sleep(PAUSE)
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", status)[0])

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()


def run(
    model: Path, messages: int, seed: object, encoding: str, inline: bool, folder: Path, pull: bool = False
) -> str:
    """Run one session with ``messages`` messages; return its figures as a sentence. Raises `Found`.

    inline: whether the client has ghost text. pull: whether the server can request its settings. folder: where the log
    is written.
    """
    path = folder / f"{seed}-{encoding}-{inline}.log"
    with path.open("wb") as log:
        session = Session(seed, model, log)
        try:
            return _run(session, messages, seed, encoding, inline, pull)
        except OSError as error:
            raise Found(f"{error}; the server's exit status is {session.process.wait(PATIENCE)}") from error
        finally:
            session.end()
            _check_log(path)


def _run(session: Session, messages: int, seed: object, encoding: str, inline: bool, pull: bool) -> str:
    early = Messages(f"{seed} early", encoding, early=True)
    early_ones = [early.next() for _ in range(WINDOW)]
    session.send(*early_ones, *early.rest())
    session.wait_for_answers()
    capabilities: Message = {
        "general": {"positionEncodings": [encoding]},
        "window": {"workDoneProgress": True},
    }
    capabilities["textDocument"] = {"inlineCompletion": {}} if inline else {"completion": {}}
    capabilities["workspace"] = {
        "configuration": pull,
        "didChangeConfiguration": {"dynamicRegistration": True},
    }
    params = {
        "processId": None,
        "rootUri": "file:///w",
        "capabilities": capabilities,
        "initializationOptions": OPTIONS,
    }
    offered = session.ask("first", "initialize", params)["result"]["capabilities"]
    if offered["positionEncoding"] != encoding:
        raise Found(f"{offered['positionEncoding']} instead of {encoding}")
    session.send(Sent(frame(b'{"jsonrpc":"2.0","method":"initialized","params":{}}')))
    made = Messages(seed, encoding, offered.get("executeCommandProvider", {}).get("commands", ()))
    settled_bytes, began, paused = 0, time.monotonic(), 0.0
    for begin in range(0, messages, WINDOW):
        session.send(*(made.next() for _ in range(min(WINDOW, messages - begin))))
        session.wait_for_answers()
        if begin % (20 * WINDOW) == 0 or begin + WINDOW >= messages:
            _compare(session, made)
        if not settled_bytes and begin >= SETTLED * messages:
            settled_bytes, paused = session.rss(), PAUSE
    took = time.monotonic() - began - paused
    grown = session.rss() - settled_bytes
    if messages >= LONG and grown > SLACK + GROWTH * (1 - SETTLED) * messages:
        raise Found(f"memory grew by {grown:,} bytes from {settled_bytes:,}")
    if not session.shown:
        raise Found("nothing was ever suggested")
    session.send(*made.rest())
    session.wait_for_answers()
    if session.ask("last", "shutdown", None) != {"jsonrpc": "2.0", "id": "last", "result": None}:
        raise Found("shutdown is not answered")
    late = [made.next() for _ in range(WINDOW)]
    session.send(*late, *made.rest())
    session.wait_for_answers()
    session.send(Sent(frame(b'{"jsonrpc":"2.0","method":"exit"}')))
    if status := session.process.wait(PATIENCE):
        raise Found(f"the exit status is {status}")
    return (
        f"{messages:,} messages, {1000 * took / messages:.2f} ms each; {session.shown:,} suggestions; "
        f"memory {settled_bytes >> 20} MiB and {grown / 2**20:+.1f}"
    )


def _compare(session: Session, made: Messages) -> None:
    """Compare the mirrors with the server's documents. Raises `Found`."""
    for id_, uri in made.digests().items():
        told = session.ask(id_, "mercury/documentDigest", {"textDocument": {"uri": uri}})["result"]
        mirror, version = made.mirrors[uri], made.versions[uri]
        if told is None and not version:
            # The document is not open yet.
            continue
        if told is None or (told["version"], told["sha256"]) != (version, mirror.sha256):
            raise Found(f"{uri} at version {version} is {mirror.text!r}, but the server has {told}")


def _check_log(path: Path) -> None:
    """Raise `Found` if the log shows a bug."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if found := re.search(
        r"^.*(unexpected error|Traceback \(most recent call last\)|never retrieved|never awaited)", text, re.M
    ):
        raise Found(f"the log, {path}, has:\n{text[found.start() : found.start() + 4000]}")


def fuzz(
    model: Path, messages: int, seed: object, folder: Path, told: Callable[[str], object] = print
) -> None:
    """Run a long session with a check of memory, and a short one with each other kind of client. Raises `Found`."""
    short = max(WINDOW, messages // 10)
    for count, encoding, inline, pull in (
        (messages - 3 * short, "utf-16", True, False),
        (short, "utf-8", True, True),
        (short, "utf-32", True, False),
        (short, "utf-16", False, True),
    ):
        told(
            f"seed {seed}, {encoding}, {'inline' if inline else 'menu'}: "
            + run(model, count, seed, encoding, inline, folder, pull)
        )


def main() -> int:
    """Run the command line; return the exit status."""
    from tests.support.models.tiny_models import save_packed

    parser = argparse.ArgumentParser(
        prog="python -m tests.lsp.protocol.fuzzing", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    parser.add_argument("--model", type=Path, help="a checkpoint's folder; without, two random layers")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mercury-fuzz-"))
    try:
        fuzz(options.model or save_packed(folder / "model"), options.messages, options.seed, folder)
    except Found as found:
        print(f"seed {options.seed}: {found}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
