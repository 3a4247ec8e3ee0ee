"""Runs the engine in this process as a backend, with one session for each key and a thread for each task."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from mercury_lsp.context import prompt
from mercury_lsp.engine.api import Engine, Infill, Progress, Run, Sampling
from mercury_lsp.engine.backends.devices import batcher_for
from mercury_lsp.engine.batching import ContinuousBatcher, Slot
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.load import make_engine
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.http.backend import Task, Unavailable, Update
from mercury_lsp.http.counts import EngineCounts
from mercury_lsp.http.sessions import Sessions

# Token budgets of the prompt's parts.
PREFIX_TOKENS, FOLLOWING_TOKENS = 512, 192
PATH_TOKENS = 128
# Rows of a slot that are reserved for the path's tokens, and for a pass's drafts and canvases after the last kept row.
SPARE_ROWS = PATH_TOKENS + 128
# Concurrent tasks, which share passes: on a CPU, where more rows take more time, and on a GPU.
MAX_CPU_TASKS, MAX_GPU_TASKS = 8, 32
# The replacement character, which stands for a character with missing bytes.
PARTIAL_CHARACTER = "\ufffd"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How the engine runs.

    ``memory_mb``: the memory for all sessions' KV caches, in MiB. ``sessions``: the most sessions that are kept.
    ``running``, ``waiting``: the most tasks that run or wait, None for the device's default. ``wait_s``: the longest
    wait in seconds. ``max_tokens``: the longest middle.
    """

    device: str = "auto"
    threads: int = 0
    memory_mb: int = 2048
    sessions: int = 256
    running: int | None = None
    waiting: int = 128
    wait_s: float = 15.0
    max_tokens: int = 256

    @property
    def rows(self) -> int:
        """The rows of a session's KV cache."""
        tokens = PREFIX_TOKENS + FOLLOWING_TOKENS + prompt.REST_TOKENS + self.max_tokens
        return -(-(tokens + SPARE_ROWS) // 64) * 64


class _Session:
    """A slot and its engine, created at first use, in the thread that uses them."""

    def __init__(self) -> None:
        self.slot: Slot | None = None
        self.engine: Engine | None = None

    def use(self, loaded: Checkpoint | OpenCheckpoint, slots: ContinuousBatcher) -> tuple[Engine, Slot]:
        """Return the engine and the slot."""
        if self.slot is None or self.engine is None:
            self.slot = slots.acquire()
            self.engine = make_engine(loaded, self.slot)
        return self.engine, self.slot

    def end(self) -> None:
        """Release the slot."""
        if self.slot is not None:
            self.slot.release()


class _StopFound(Exception):
    """Raised if the text contains a stop text: ``infill`` ends in it or after it."""

    def __init__(self, infill: Infill) -> None:
        super().__init__()
        self.infill = infill


class LocalBackend:
    """Implements `Backend`. Loads the model in a thread; ``failure``: the reason if loading failed, otherwise ""."""

    def __init__(self, loaded: Checkpoint | OpenCheckpoint, options: LocalOptions) -> None:
        self.model = loaded.name
        self.failure = ""
        self._loaded, self._options = loaded, options
        # The slots, None before loading; the sessions, None before the first task.
        self.slots: ContinuousBatcher | None = None
        self.sessions: Sessions[_Session] | None = None
        self._pool = ThreadPoolExecutor(options.running or MAX_GPU_TASKS, "mercury-task")
        self._running: set[asyncio.Future[Update]] = set()
        self._closing = threading.Event()
        self.counts = EngineCounts(self)
        threading.Thread(target=self._load, name="mercury-load", daemon=True).start()

    @property
    def ready(self) -> bool:
        """See `Backend.ready`."""
        return self.slots is not None and not self._closing.is_set()

    async def run(self, task: Task) -> AsyncGenerator[Update, None]:
        """See `Backend.run`."""
        if not self.ready or self.slots is None:
            stopping = "The server is stopping." if self._closing.is_set() else ""
            raise Unavailable(stopping or self.failure or "The model is loading.")
        if self.sessions is None:
            self.sessions = self._make_sessions(self.slots)
        sessions = self.sessions
        queued_at = time.perf_counter()
        session = await sessions.acquire(task.key, task.client)
        self.counts.queued.observe(time.perf_counter() - queued_at)
        loop, updates = asyncio.get_running_loop(), asyncio.Queue[Update | None]()
        stopped = threading.Event()

        def cancelled() -> bool:
            return stopped.is_set() or self._closing.is_set()

        def send_update(update: Update) -> None:
            loop.call_soon_threadsafe(updates.put_nowait, update)

        job = loop.run_in_executor(
            self._pool, self._run_task, self.slots, session, task, cancelled, send_update
        )
        self._running.add(job)
        job.add_done_callback(lambda _: self._end_task(sessions, task.key, session, job))
        job.add_done_callback(lambda _: updates.put_nowait(None))
        try:
            while (update := await updates.get()) is not None:
                yield update
            yield job.result()
        except Cancelled:
            raise Unavailable("The server is stopping.") from None
        finally:
            stopped.set()

    def metrics(self) -> str:
        """See `Backend.metrics`."""
        return self.counts.text()

    async def close(self) -> None:
        """See `Backend.close`."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*self._running, return_exceptions=True)
        if self.slots is not None:
            await asyncio.to_thread(self.slots.close)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _load(self) -> None:
        own = self._options
        memory = own.memory_mb << 20
        try:
            self.slots = batcher_for(self._loaded, own.device, own.threads, memory, own.rows)
        except Exception as error:
            # The process reports `failure`.
            log.debug("Loading failed.", exc_info=True)
            self.failure = str(error) or type(error).__name__

    def _make_sessions(self, slots: ContinuousBatcher) -> Sessions[_Session]:
        default = MAX_CPU_TASKS if slots.device == "cpu" else MAX_GPU_TASKS
        own = self._options
        most = min(own.sessions, max(1, (own.memory_mb << 20) // slots.bytes_per_slot))
        return Sessions(_Session, _Session.end, most, own.running or default, own.waiting, own.wait_s)

    def _end_task(
        self, sessions: Sessions[_Session], key: str, session: _Session, job: asyncio.Future[Update]
    ) -> None:
        self._running.discard(job)
        failure = None if job.cancelled() else job.exception()
        broken = job.cancelled() or not isinstance(failure, Cancelled | None)
        self.counts.failed.inc(broken)
        self.counts.cancelled.inc(isinstance(failure, Cancelled))
        sessions.release(key, session, keep=not broken)

    def _run_task(
        self,
        slots: ContinuousBatcher,
        session: _Session,
        task: Task,
        cancelled: Callable[[], bool],
        send_update: Callable[[Update], None],
    ) -> Update:
        """Run a task in a thread of the pool, and return its last update."""
        engine, slot = session.use(self._loaded, slots)
        options, sent = self._options, 0
        path = truncate_path(task.path, engine.count)
        own, budgets = (path, task.prefix, task.suffix), (PREFIX_TOKENS, FOLLOWING_TOKENS)
        question = prompt.build(*own, engine.count, *budgets, stem_start=engine.stem_start)
        sampling = Sampling(
            max_tokens=min(task.max_tokens, options.max_tokens),
            max_passes=2 * task.max_tokens,
            temperature=task.temperature,
            seed=random.getrandbits(63) if task.seed is None else task.seed,
        )

        def on_progress(draft: Progress) -> None:
            nonlocal sent
            if cut_at_stop(draft.committed.text, task.stop) is not None:
                raise _StopFound(draft.committed)
            stable = committed_length(draft.committed.text, task.stop)
            if task.drafts or stable > sent:
                sent = stable
                send_update(Update(draft.text if task.drafts else draft.committed.text, stable))

        try:
            with slot.job(cancelled):
                infill = engine.infill(question, sampling, Run(cancelled, on_progress))
        except _StopFound as stopped:
            infill = stopped.infill
        shorter = cut_at_stop(infill.text, task.stop)
        text = infill.text if shorter is None else shorter
        if not infill.finished:
            text = text.rstrip(PARTIAL_CHARACTER)
        return Update(
            text,
            len(text),
            "stop" if infill.finished or shorter is not None else "length",
            infill.prompt_tokens,
            infill.cached_tokens,
            infill.tokens,
            infill.forward_passes,
        )


def truncate_path(path: str, count: Callable[[str], int]) -> str:
    """Return the path, or its end if it has more than `PATH_TOKENS` tokens. A token has at least one byte."""
    if count(path) <= PATH_TOKENS:
        return path
    return path.encode()[-PATH_TOKENS:].decode(errors="ignore")


def cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """Return the text before its first stop text, or None if it contains none."""
    places = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else None


def committed_length(text: str, stops: Sequence[str]) -> int:
    """Return the number of leading characters that no continuation can change, of a text without stop texts.

    A partial character at the end, and a possible start of a stop text, do not count.
    """
    stable = len(text.rstrip(PARTIAL_CHARACTER))
    starts = [
        length for stop in stops for length in range(1, len(stop)) if text[:stable].endswith(stop[:length])
    ]
    return stable - max(starts, default=0)
