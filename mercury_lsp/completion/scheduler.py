"""Schedules requests: cache, running job, new job, within a deadline.

At the deadline the committed text is shown, if it is likely enough. The worker also prefetches at the place of the last
change, in a document that was just opened, and at the place after an acceptance of the current suggestion. The
scheduler runs on one event loop.
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
from mercury_lsp.engine.worker import EngineState, NoResult, Worker
from mercury_lsp.remote.breaker import ANSWER_SECONDS, RemoteBacked, RemoteStatus

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine, Progress
    from mercury_lsp.engine.tokenizer import Vocabulary

MODEL_WAIT_SECONDS = 2.0
# The deadlines if `deadline_ms` is not set.
CPU_DEADLINE_SECONDS, GPU_DEADLINE_SECONDS = 0.25, 0.06
# Added to the timeout of a hosted model, so that its last answer or its error still arrives.
REMOTE_GRACE_SECONDS = 0.1
CLOSE_SECONDS = 1.0
# Judging the committed text after the deadline may take this share of the deadline, but at least the minimum.
JUDGE_SHARE, MIN_JUDGE_SECONDS = 0.5, 0.05
# The deadline of a manual request, in deadlines of automatic requests.
MANUAL_DEADLINES = 10

log = logging.getLogger(__name__)


class CompletionScheduler:
    """The completions of one client, and the worker that computes them."""

    def __init__(self) -> None:
        # Receives each preview, and None when its job ends, in the worker's thread; None if the client draws no
        # previews. Must be set before the model is loaded.
        self.draft: Callable[[cache.Place, Progress | None], None] | None = None
        self._worker: Worker[Engine] | None = None
        self._wanted: tuple[object, ...] | None = None
        # Set once the model is ready or has failed to load.
        self._loaded = asyncio.Event()
        # Used in the worker's thread only.
        self._kept = Kept()
        self._arrivals = itertools.count(1)
        # Number and place of the newest request.
        self._newest: tuple[int, cache.Place | None] = (0, None)
        # Starts the prefetch at the place after an acceptance of the last suggestion.
        self._next: asyncio.TimerHandle | None = None
        # Seconds from a change to the prefetch of further candidates; None if the client shows no others.
        self.further: float | None = None
        self._further: asyncio.TimerHandle | None = None
        self._debounce = Debounce()

    def load(self, config: Config, show: Callable[[EngineState], None]) -> bool:
        """Start loading the model of a configuration, unless suggestions are off or nothing that it needs has changed.

        Returns whether loading was started. `show` is called on the event loop with each state of the engine.
        """
        wanted = engines.wanted(config)
        if not config.enabled or wanted == self._wanted:
            return False
        if self._worker is not None:
            self._worker.stop(0)
        self._wanted = wanted
        self._loaded.clear()
        loop = asyncio.get_running_loop()

        def load(report: Callable[[float], None]) -> Engine:
            # Runs in the worker's thread, which imports numpy and maybe torch, at a low priority.
            lower_priority(config.nice)
            engine = engines.load(config, report, drafts=self.draft is not None)
            release_memory()
            return engine

        def apply_state(state: EngineState) -> None:
            if worker is self._worker:
                if state.kind in ("ready", "failed"):
                    self._loaded.set()
                else:
                    # The worker loads the engine, again after repeated failures.
                    self._loaded.clear()
                show(state)

        def on_state(state: EngineState) -> None:
            # The event loop is closed after the client has disconnected.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(apply_state, state)

        worker = self._worker = Worker(load, on_state, release_memory)
        worker.start()
        return True

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Stop all work and wait at most `timeout` seconds for the worker's end.

        The second call may come from any thread and only waits.
        """
        for timer in (self._next, self._further):
            if timer is not None:
                timer.cancel()
        self._next = self._further = None
        if self._worker is not None:
            self._worker.stop(timeout)

    @property
    def worker(self) -> Worker[Engine] | None:
        """The worker, on which `idle` runs other work; None before the first `load`."""
        return self._worker

    @property
    def model(self) -> str:
        """The name of the loaded model; empty without one."""
        engine = self._worker.engine if self._worker else None
        return "" if engine is None else engine.name

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary that a project memory must use; None if the loaded model uses no project memory."""
        engine = self._worker.engine if self._worker else None
        return None if engine is None else engine.vocabulary

    @property
    def device(self) -> str:
        """The device of the loaded model; empty without one."""
        engine = self._worker.engine if self._worker else None
        return "" if engine is None else engine.device

    @property
    def remote_status(self) -> RemoteStatus | None:
        """The status of the hosted model; None if the settings use none."""
        engine = self._worker.engine if self._worker else None
        return engine.remote_status if isinstance(engine, RemoteBacked) else None

    @property
    def state(self) -> EngineState:
        """The state of the worker's engine; idle before the first `load`."""
        return EngineState("idle") if self._worker is None else self._worker.state

    @property
    def work(self) -> dict[str, object]:
        """For debugging: the number of started jobs, and whether any work runs or is scheduled."""
        begun = self._worker.jobs_started if self._worker else 0
        return {"begun": begun, "busy": bool(self._next or self._further) or self.computing}

    @property
    def computing(self) -> bool:
        """Whether a job runs or waits."""
        return self._worker is not None and self._worker.busy

    def opened(self, snapshot: Snapshot) -> None:
        """Prefetch at the top of a document that was just opened, because most cursors begin there."""
        worker = self._worker
        if worker is not None and _ahead(snapshot.config) and not declined(snapshot):
            kept = self._kept
            key = ("opened", snapshot)
            worker.prefetch(key, lambda engine, cancelled, _: prepare(snapshot, 0, engine, cancelled, kept))

    def changed(self, snapshot: Snapshot, offset: int) -> None:
        """Prefetch at the probable cursor of a document that has changed, ahead of the editor's request."""
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
        """Return the number of a request that has just arrived, which keeps the order of requests that wait."""
        return next(self._arrivals)

    async def completion(self, snapshot: Snapshot, offset: int, arrival: int | None = None) -> Reply:
        """Return a suggestion, or the cause if there is none in time.

        `arrival` is the number from `arrived` of a request that has waited for something else first.
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
        # The deadlines begin after the debounce.
        until, end = now() + first, now() + last
        with suppress(TimeoutError):
            # Not `asyncio.wait_for`, which may swallow a cancellation.
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
                # The result will answer the next request for this place.
                worker.keep_running(place)
            done: Committed | None = worker.progress(place)
        except NoResult as error:
            return Reply(nothing(offset, str(error)), Cause.UNANSWERED)
        finally:
            future.cancel()
        log.debug("The deadline came before the end.")
        late = None if done is None else await _judged(done, first)
        return Reply(late, Cause.NONE if late is not None and late.shown is not None else Cause.DEADLINE)

    def _wait(self, snapshot: Snapshot, now: float) -> float:
        """Return the debounce of a request in seconds."""
        config = snapshot.config
        if config.debounce_ms >= 0:
            return config.debounce_ms / 1000
        return 0.0 if _ahead(config) or snapshot.invoked else self._debounce.wait(now)

    def _deadlines(self, snapshot: Snapshot) -> tuple[float, float]:
        """Return two deadlines in seconds: for committed text that is worth showing, and for any answer.

        They differ only with a fallback and without `deadline_ms`: the second one leaves time for the hosted model.
        """
        config, engine = snapshot.config, self._worker.engine if self._worker else None
        here = CPU_DEADLINE_SECONDS if engine is None or engine.device == "cpu" else GPU_DEADLINE_SECONDS
        there = ANSWER_SECONDS + REMOTE_GRACE_SECONDS
        usual = {"off": (here, here), "always": (there, there), "fallback": (here, here + there)}
        first, last = (config.deadline_ms / 1000,) * 2 if config.deadline_ms else usual[config.remote]
        times = MANUAL_DEADLINES if snapshot.invoked else 1
        return first * times, last * times

    def _cached(self, snapshot: Snapshot, offset: int) -> Completion | None:
        """Return the answer that the earlier results give, without a pass; None if they give none."""
        worker = self._worker
        if worker is None or not snapshot.config.anticipate:
            return None
        found = cache.lookup(worker.recent_results(), snapshot, offset)
        if found is not None:
            log.debug("Answered from memory.")
            worker.supersede()
            self._follow(snapshot, found)
        return found

    def _follow(self, snapshot: Snapshot, completion: Completion | None) -> None:
        """Schedule the prefetch at the place after an acceptance of a completion, once the reply is sent."""
        if completion is None or completion.shown is None or not _ahead(snapshot.config):
            return
        if self._next is not None:
            self._next.cancel()
        # The event loop runs a timer, even of 0 s, after the callback that sends the reply.
        self._next = asyncio.get_running_loop().call_later(0, self._accepted, snapshot, completion)

    def _accepted(self, snapshot: Snapshot, completion: Completion) -> None:
        """Prefetch at the cursor after an acceptance of a completion, unless the worker is busy."""
        self._next = None
        if self._worker is not None and not self._worker.busy:
            old, start, shown = snapshot.document, completion.start, completion.shown or ""
            document = old.replace(start, completion.end, shown, old.version)
            self._anticipate(replace(snapshot, document=document, invoked=False), start + len(shown))

    def _more(self, snapshot: Snapshot, offset: int) -> None:
        """Prefetch further candidates after a pause in typing, unless the worker is busy."""
        self._further = None
        if not self.computing:
            self._anticipate(snapshot, offset)

    def _anticipate(self, snapshot: Snapshot, offset: int) -> None:
        worker = self._worker
        if worker is not None and cache.lookup(worker.recent_results(), snapshot, offset) is None:
            worker.prefetch((snapshot, offset), self._job(worker, snapshot, offset))

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
                hint = cache.draft_hint([*interrupted, *worker.recent_results()], snapshot, offset)
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
    """Return whether the committed text is worth showing as it is."""
    if committed is None:
        return False
    found = await _judged(committed, CPU_DEADLINE_SECONDS)
    return found is not None and found.shown is not None


async def _judged(committed: Committed, deadline: float) -> Completion | None:
    """Judge the committed text; return None if that takes longer than `JUDGE_SHARE` of the deadline in seconds.

    The thread that judges cannot be stopped, but the request does not wait for it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(max(MIN_JUDGE_SECONDS, JUDGE_SHARE * deadline)):
            return await asyncio.shield(asyncio.to_thread(committed.judged))
    log.debug("Judging what was committed took too long.")
    return None


def _ahead(config: Config) -> bool:
    """Return whether the worker prefetches: never with a hosted model, which costs money and would see all typing."""
    return config.anticipate and config.remote == "off"
