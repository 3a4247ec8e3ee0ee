"""Schedules requests: cache, running job, new job, within a deadline.

At the deadline it shows what is committed by then. The worker also prefetches: the place of the last change, a document
just opened, and what would follow if the user accepted a suggestion. All of it runs on one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mercury_lsp.completion import cache, engines
from mercury_lsp.completion.committed import Committed
from mercury_lsp.completion.debounce import Debounce
from mercury_lsp.completion.pipeline import Job, Kept, complete, declined, nothing, prepare
from mercury_lsp.completion.types import Cause, Completion, Reply, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.system import lower_priority, release_memory
from mercury_lsp.engine.worker import EngineState, Unanswered, Worker
from mercury_lsp.remote.breaker import ANSWER_SECONDS, RemoteBacked, RemoteStatus

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine, Progress
    from mercury_lsp.engine.tokenizer import Vocabulary

MODEL_WAIT_SECONDS = 2.0
# If the settings name no deadline.
CPU_DEADLINE_SECONDS, GPU_DEADLINE_SECONDS = 0.25, 0.06
# After its own time-out, a hosted model's answer, or the reason for there being none, still counts.
REMOTE_GRACE_SECONDS = 0.1
CLOSE_SECONDS = 1.0
# How long it may take after the deadline to judge what is committed: this part of the deadline, or the least time.
JUDGE_SHARE, MIN_JUDGE_SECONDS = 0.5, 0.05
# How many deadlines a manual request waits.
MANUAL_DEADLINES = 10

log = logging.getLogger(__name__)


class CompletionScheduler:
    """One client's completions, and the worker that makes them."""

    def __init__(self) -> None:
        # Told of drafts, by the worker, if the client draws them; set before the model is loaded.
        self.draft: Callable[[cache.Place, Progress | None], None] | None = None
        self._worker: Worker[Engine] | None = None
        self._wanted: tuple[object, ...] | None = None
        self._loaded = asyncio.Event()  # the model is ready, or will never be
        self._kept = Kept()  # of the worker's thread, which alone uses it
        self._arrivals = itertools.count(1)
        self._newest: tuple[int, cache.Place | None] = (0, None)  # the last request, and what it asks for
        self._next: asyncio.TimerHandle | None = None  # begins what follows the last answer
        # Seconds after a change, when further candidates are worked out ahead.
        self.further: float | None = None
        self._further: asyncio.TimerHandle | None = None
        self._debounce = Debounce()

    def load(self, config: Config, show: Callable[[EngineState], None]) -> bool:
        """Load the model that the settings name; False where that is done or under way. `show` is told its states."""
        wanted = engines.wanted(config)
        if not config.enabled or wanted == self._wanted:
            return False
        if self._worker is not None:
            self._worker.stop(0)
        self._wanted = wanted
        self._loaded.clear()
        loop = asyncio.get_running_loop()

        def load(report: Callable[[float], None]) -> Engine:
            # In the worker's thread: this imports numpy, and maybe torch, and all that computes stands back.
            lower_priority(config.nice)
            engine = engines.load(config, report, drafts=self.draft is not None)
            release_memory()
            return engine

        def apply_state(state: EngineState) -> None:
            if worker is self._worker:
                if state.kind in ("ready", "failed"):
                    self._loaded.set()
                else:  # for the first time, or anew
                    self._loaded.clear()
                show(state)

        def on_state(state: EngineState) -> None:
            with suppress(RuntimeError):  # the loop is closed: the client is gone
                loop.call_soon_threadsafe(apply_state, state)

        worker = self._worker = Worker(load, on_state, release_memory)
        worker.start()
        return True

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End all work; wait for that, in seconds, at most `timeout`. A second call, from any thread, only waits."""
        for timer in (self._next, self._further):
            if timer is not None:
                timer.cancel()
        self._next = self._further = None
        if self._worker is not None:
            self._worker.stop(timeout)

    @property
    def worker(self) -> Worker[Engine] | None:
        """For other work, see `idle`; None before a model is wanted."""
        return self._worker

    @property
    def model(self) -> str:
        """The name of the model that is loaded, or ""."""
        engine = self._worker.engine if self._worker else None
        return "" if engine is None else engine.name

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The tokens of a project memory that the loaded model can use; None where it can use none."""
        engine = self._worker.engine if self._worker else None
        return None if engine is None else engine.vocabulary

    @property
    def device(self) -> str:
        """Where the model runs, or ""."""
        engine = self._worker.engine if self._worker else None
        return "" if engine is None else engine.device

    @property
    def remote_status(self) -> RemoteStatus | None:
        """How it stands with a hosted model, where one may be asked."""
        engine = self._worker.engine if self._worker else None
        return engine.remote_status if isinstance(engine, RemoteBacked) else None

    @property
    def state(self) -> EngineState:
        """What the worker's engine is doing."""
        return EngineState("idle") if self._worker is None else self._worker.state

    @property
    def work(self) -> dict[str, object]:
        """For debugging: how many jobs were begun, and whether there is anything to do."""
        begun = self._worker.begun if self._worker else 0
        return {"begun": begun, "busy": bool(self._next or self._further) or self.computing}

    @property
    def computing(self) -> bool:
        """Whether the engine has anything to do."""
        return self._worker is not None and self._worker.busy

    def opened(self, snapshot: Snapshot) -> None:
        """A document is there now: read it from its top, where most cursors begin."""
        worker = self._worker
        if worker is not None and _ahead(snapshot.config) and not declined(snapshot):
            kept = self._kept
            key = ("opened", snapshot)
            worker.anticipate(key, lambda engine, cancelled, _: prepare(snapshot, 0, engine, cancelled, kept))

    def changed(self, snapshot: Snapshot, offset: int) -> None:
        """A document has changed, and the cursor is probably at an offset: work there until the editor asks."""
        self._debounce = self._debounce.typed(asyncio.get_running_loop().time())
        if self._further is not None:
            self._further.cancel()
            self._further = None
        if _ahead(snapshot.config) and not declined(snapshot):
            self._anticipate(snapshot, offset)
            if self.further is not None:
                more = replace(snapshot, several=True)
                loop = asyncio.get_running_loop()
                self._further = loop.call_later(self.further, self._more, more, offset)

    def arrived(self) -> int:
        """The number of a request that has just come: whatever it waits for, it stays older than the next."""
        return next(self._arrivals)

    async def completion(self, snapshot: Snapshot, offset: int, arrival: int | None = None) -> Reply:
        """What to suggest, or why there is nothing in time.

        `arrival` is the request's number, if it came before now, see `arrived`.
        """
        place = (snapshot, offset)
        arrival = self.arrived() if arrival is None else arrival
        if arrival > self._newest[0]:
            self._newest = (arrival, place)
        elif self._newest[1] != place:
            return Reply(cause=Cause.SUPERSEDED)
        if (found := self._cached(snapshot, offset)) is not None:
            return _reply(found, from_cache=True)
        now = asyncio.get_running_loop().time
        await asyncio.sleep(self._wait(snapshot, now()))
        first, last = self._deadlines(snapshot)
        until, end = now() + first, now() + last  # from here on: the wait above is the user's own
        with suppress(TimeoutError):
            # `wait_for` may swallow a cancellation.
            async with asyncio.timeout_at(min(until, now() + MODEL_WAIT_SECONDS)):
                await self._loaded.wait()
        worker = self._worker
        if self._newest[1] != place:
            return Reply(cause=Cause.SUPERSEDED)
        if worker is None or worker.engine is None:
            failed = worker is not None and worker.state.kind == "failed"
            return Reply(cause=Cause.FAILED if failed else Cause.LOADING)
        if (found := self._cached(snapshot, offset)) is not None:
            return _reply(found, from_cache=True)
        begun = now()
        future = asyncio.wrap_future(worker.submit(place, self._job(worker, snapshot, offset)))
        try:
            await asyncio.wait([future], timeout=max(0.0, until - begun))
            if last > first and not future.done() and not await _worth_showing(worker.progress(place)):
                await asyncio.wait([future], timeout=max(0.0, end - now()))
            if future.done():
                self._follow(snapshot, completion := future.result())
                if completion is None:
                    return Reply(cause=Cause.SUPERSEDED)
                if completion.infill.forward_passes and not completion.others:
                    self._debounce = self._debounce.answered(now() - begun)
                return _reply(completion)
            if snapshot.config.remote == "off":
                worker.keep(place)  # for when the same is asked again
            done: Committed | None = worker.progress(place)
        except Unanswered as error:
            return Reply(nothing(offset, str(error)), Cause.UNANSWERED)
        finally:
            future.cancel()
        log.debug("The deadline came before the end.")
        late = None if done is None else await _judged(done, first)
        return Reply(late, Cause.NONE if late is not None and late.shown is not None else Cause.DEADLINE)

    def _wait(self, snapshot: Snapshot, now: float) -> float:
        """Seconds that a request waits for further typing before the model is asked."""
        config = snapshot.config
        if config.debounce_ms >= 0:
            return config.debounce_ms / 1000
        return 0.0 if _ahead(config) or snapshot.invoked else self._debounce.wait(now)

    def _deadlines(self, snapshot: Snapshot) -> tuple[float, float]:
        """Seconds from a request until what is committed by then is shown, and until none of it is waited for any
        longer.

        These differ only where a hosted model is asked if there is nothing here that is worth showing.
        """
        config, engine = snapshot.config, self._worker.engine if self._worker else None
        here = CPU_DEADLINE_SECONDS if engine is None or engine.device == "cpu" else GPU_DEADLINE_SECONDS
        there = ANSWER_SECONDS + REMOTE_GRACE_SECONDS
        usual = {"off": (here, here), "always": (there, there), "fallback": (here, here + there)}
        first, last = (config.deadline_ms / 1000,) * 2 if config.deadline_ms else usual[config.remote]
        times = MANUAL_DEADLINES if snapshot.invoked else 1
        return first * times, last * times

    def _cached(self, snapshot: Snapshot, offset: int) -> Completion | None:
        """The answer from memory, where it has one."""
        worker = self._worker
        if worker is None or not snapshot.config.anticipate:
            return None
        found = cache.lookup(worker.remembered(), snapshot, offset)
        if found is not None:
            log.debug("Answered from memory.")
            worker.supersede()
            self._follow(snapshot, found)
        return found

    def _follow(self, snapshot: Snapshot, completion: Completion | None) -> None:
        """Once the answer is on its way, work on what comes if the user accepts it."""
        if completion is None or completion.shown is None or not _ahead(snapshot.config):
            return
        if self._next is not None:
            self._next.cancel()
        # A timer, even of no time, comes behind the callback that sends the answer.
        self._next = asyncio.get_running_loop().call_later(0, self._accepted, snapshot, completion)

    def _accepted(self, snapshot: Snapshot, completion: Completion) -> None:
        """Unless there is something else to do, work where the cursor is when a completion has been accepted."""
        self._next = None
        if self._worker is not None and not self._worker.busy:
            old, start, shown = snapshot.document, completion.start, completion.shown or ""
            document = old.replace(start, completion.end, shown, old.version)
            self._anticipate(replace(snapshot, document=document, invoked=False), start + len(shown))

    def _more(self, snapshot: Snapshot, offset: int) -> None:
        """The user has paused: work out the further candidates, unless something else is to be done."""
        self._further = None
        if not self.computing:
            self._anticipate(snapshot, offset)

    def _anticipate(self, snapshot: Snapshot, offset: int) -> None:
        worker = self._worker
        if worker is not None and cache.lookup(worker.remembered(), snapshot, offset) is None:
            worker.anticipate((snapshot, offset), self._job(worker, snapshot, offset))

    def _job(
        self, worker: Worker[Engine], snapshot: Snapshot, offset: int
    ) -> Callable[[Engine, Callable[[], bool], Callable[[object], None]], Completion | None]:
        draft = self.draft

        def work(
            engine: Engine, cancelled: Callable[[], bool], tell: Callable[[object], None]
        ) -> Completion | None:
            hint = None
            if snapshot.config.anticipate:
                interrupted = [worker.interrupted] if worker.interrupted else []
                hint = cache.draft_hint([*interrupted, *worker.remembered()], snapshot, offset)
            on_progress = None if draft is None else partial(draft, (snapshot, offset))
            job = Job(cancelled, on_progress, tell, hint, snapshot.candidates - 1, self._kept)
            try:
                return complete(snapshot, offset, engine, job)
            finally:
                if draft is not None:
                    draft((snapshot, offset), None)

        return work


def _reply(completion: Completion, from_cache: bool = False) -> Reply:
    return Reply(completion, Cause.NONE if completion.shown is not None else Cause.WITHHELD, from_cache)


async def _worth_showing(committed: Committed | None) -> bool:
    """Whether what is committed by now may be shown as it is."""
    if committed is None:
        return False
    found = await _judged(committed, CPU_DEADLINE_SECONDS)
    return found is not None and found.shown is not None


async def _judged(committed: Committed, deadline: float) -> Completion | None:
    """What may be shown of the committed text; None if judging takes longer than `JUDGE_SHARE` of the deadline (s).

    The thread that tells cannot be stopped, but nobody waits for it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(max(MIN_JUDGE_SECONDS, JUDGE_SHARE * deadline)):
            return await asyncio.shield(asyncio.to_thread(committed.judged))
    log.debug("Judging what was committed took too long.")
    return None


def _ahead(config: Config) -> bool:
    """Whether the worker prefetches: never with a hosted model, which costs and learns what is typed."""
    return config.anticipate and config.remote == "off"
