"""An engine that writes a given text token by token, and snapshots for its requests."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from itertools import accumulate

from mercury_lsp.completion.types import Completion, Reply, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill, Progress, Run, Sampling, ScoredToken
from mercury_lsp.engine.tokenizer import Hint, Prompt, Snippet
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.document import Document

WAIT = 30
BEFORE = "some words and "
WRITTEN = ["many", " more", " words"]
WHOLE = "".join(WRITTEN)
OTHERS = ["some", "many  more words", "many things", "few", "none"]


class Scripted:
    """Writes the tokens in `written`, one for each pass. While held, it waits for permission before each pass."""

    vocabulary = None

    def __init__(self) -> None:
        self.device = "cpu"
        self.prompts: list[str] = []
        self.read: list[str] = []
        self.hints: list[Hint | None] = []
        self.related: list[tuple[Snippet, ...]] = []
        self.branched: list[str] = []
        self.passes = 0
        self.written = WRITTEN
        self.held = False
        self._steps, self._done = threading.Semaphore(0), threading.Semaphore(0)

    def stem_start(self, text: str) -> int:
        return len(text)

    def count(self, text: str) -> int:
        return len(text)

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool], min_tokens: int = 1) -> int:
        self.read.append(prompt.prefix + prompt.rest)
        return 0

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run) -> Infill:
        self.prompts.append(prompt.prefix)
        self.related.append(prompt.related)
        self.hints.append(run.hint)
        for number in range(len(self.written)):
            if self.held:
                assert self._steps.acquire(timeout=WAIT)
            if run.cancelled():
                raise Cancelled
            self.passes += 1
            committed = infill(self.written[: number + 1], number + 1 == len(self.written))
            assert run.on_progress is not None
            run.on_progress(Progress(committed.text, number + 1, number + 1, number + 1, committed))
            self._done.release()
        return committed

    def alternatives(self, prompt: Prompt, sampling: Sampling, first: Infill, run: Run) -> Iterator[Infill]:
        self.branched.append(prompt.prefix)
        for text in OTHERS:
            yield infill([text], True)

    def hold(self) -> None:
        """Let each further pass wait for `let`, and forget earlier passes."""
        self.held, self._done = True, threading.Semaphore(0)

    def let(self, passes: int) -> None:
        """Permit so many passes."""
        self._steps.release(passes)

    async def pass_(self, passes: int) -> None:
        """Permit so many passes, and wait for their end."""
        self.let(passes)
        for _ in range(passes):
            assert await asyncio.to_thread(self._done.acquire, timeout=WAIT)


def infill(tokens: list[str], finished: bool) -> Infill:
    ends = accumulate(len(token) for token in tokens)
    scored = tuple(ScoredToken(end, math.log(0.99)) for end in ends)
    return Infill("".join(tokens), len(tokens), 1, 1, 1.0, 0.0, 1.0, 0, 1, 0.99, finished, scored=scored)


def place(
    text: str = BEFORE, rest: str = "", uri: str = "file:///w/a.txt", **options: object
) -> tuple[Snapshot, int]:
    """Return a snapshot with the cursor after `text`, and the cursor's offset."""
    config = Config(**{"deadline_ms": 60_000, **options})  # type: ignore[arg-type]
    return Snapshot(Document(uri, "a.txt", "plaintext", 1, text + rest), config), len(text)


def shown(reply: Reply | Completion | None) -> str | None:
    completion = reply.completion if isinstance(reply, Reply) else reply
    return completion and completion.shown
