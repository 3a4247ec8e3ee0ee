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
from mercury_lsp.completion.committed import CommittedText
from mercury_lsp.completion.debounce import Debounce
from mercury_lsp.completion.pipeline import (
    Job,
    PipelineCache,
    complete,
    decline_reason,
    empty_completion,
    prefill_document,
)
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
        self.on_preview: Callable[[cache.Place, Progress | None], None] | None = None
        self._worker: Worker[Engine] | None = None
        self._engine_settings: tuple[object, ...] | None = None
        # Set once the model is ready or has failed to load.
        self._loaded = asyncio.Event()
        # Used in the worker's thread only.
        self._pipeline_cache = PipelineCache()
        self._request_numbers = itertools.count(1)
        # Number and place of the newest request.
        self._newest_request: tuple[int, cache.Place | None] = (0, None)
        # Starts the prefetch at the place after an acceptance of the last suggestion.
        self._acceptance_timer: asyncio.TimerHandle | None = None
        # Seconds from a change to the prefetch of alternatives; None if the client shows none.
        self.alternatives_delay: float | None = None
        self._alternatives_timer: asyncio.TimerHandle | None = None
        self._debounce = Debounce()

    def load(self, config: Config, on_state: Callable[[EngineState], None]) -> bool:
        """Start loading the model of a configuration, unless suggestions are off or nothing that it needs has changed.

        Returns whether loading was started. `on_state` is called on the event loop with each state of the engine.
        """
        settings = engines.relevant_settings(config)
        if not config.enabled or settings == self._engine_settings:
            return False
        if self._worker is not None:
            self._worker.stop(0)
        self._engine_settings = settings
        self._loaded.clear()
        loop = asyncio.get_running_loop()

        def load_engine(on_progress: Callable[[float], None]) -> Engine:
            # Runs in the worker's thread, which imports numpy and maybe torch, at a low priority.
            lower_priority(config.nice)
            engine = engines.load(config, on_progress, drafts=self.on_preview is not None)
            release_memory()
            return engine

        def apply_state(state: EngineState) -> None:
            if worker is self._worker:
                if state.kind in ("ready", "failed"):
                    self._loaded.set()
                else:
                    # The worker loads the engine, again after repeated failures.
                    self._loaded.clear()
                on_state(state)

        def report_state(state: EngineState) -> None:
            # The event loop is closed after the client has disconnected.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(apply_state, state)

        worker = self._worker = Worker(load_engine, report_state, release_memory)
        worker.start()
        return True

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Stop all work and wait at most `timeout` seconds for the worker's end.

        The second call may come from any thread and only waits.
        """
        for timer in (self._acceptance_timer, self._alternatives_timer):
            if timer is not None:
                timer.cancel()
        self._acceptance_timer = self._alternatives_timer = None
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
    def debug_state(self) -> dict[str, object]:
        """For debugging: the number of started jobs, and whether any work runs or is scheduled."""
        begun = self._worker.jobs_started if self._worker else 0
        return {"begun": begun, "busy": bool(self._acceptance_timer or self._alternatives_timer) or self.busy}

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return self._worker is not None and self._worker.busy

    def on_open(self, snapshot: Snapshot) -> None:
        """Prefetch at the top of a document that was just opened, because most cursors begin there."""
        worker = self._worker
        if worker is not None and _prefetches(snapshot.config) and not decline_reason(snapshot):
            pipeline_cache, key = self._pipeline_cache, ("opened", snapshot)

            def prefill(engine: Engine, cancelled: Callable[[], bool], _: object) -> None:
                prefill_document(snapshot, 0, engine, cancelled, pipeline_cache)

            worker.prefetch(key, prefill)

    def on_change(self, snapshot: Snapshot, offset: int) -> None:
        """Prefetch at the probable cursor of a document that has changed, ahead of the editor's request."""
        self._debounce = self._debounce.after_change(asyncio.get_running_loop().time())
        if self._alternatives_timer is not None:
            self._alternatives_timer.cancel()
            self._alternatives_timer = None
        if _prefetches(snapshot.config) and not decline_reason(snapshot):
            self._prefetch(snapshot, offset)
            if self.alternatives_delay is not None:
                with_alternatives = replace(snapshot, wants_alternatives=True)
                loop = asyncio.get_running_loop()
                self._alternatives_timer = loop.call_later(
                    self.alternatives_delay, self._prefetch_alternatives, with_alternatives, offset
                )

    def next_request_number(self) -> int:
        """Return the number of a request that has just arrived, which keeps the order of requests that wait."""
        return next(self._request_numbers)

    async def complete(self, snapshot: Snapshot, offset: int, request_number: int | None = None) -> Reply:
        """Return a suggestion, or the cause if there is none in time.

        `request_number` is the number from `next_request_number` of a request that has waited for something else first.
        """
        place = (snapshot, offset)
        request_number = self.next_request_number() if request_number is None else request_number
        if request_number > self._newest_request[0]:
            self._newest_request = (request_number, place)
        elif self._newest_request[1] != place:
            return Reply(cause=Cause.SUPERSEDED)
        if (cached := self._lookup_cached(snapshot, offset)) is not None:
            return _make_reply(cached, from_cache=True)
        now = asyncio.get_running_loop().time
        await asyncio.sleep(self._debounce_seconds(snapshot, now()))
        soft_seconds, hard_seconds = self._deadlines(snapshot)
        # The deadlines begin after the debounce.
        soft_deadline, hard_deadline = now() + soft_seconds, now() + hard_seconds
        with suppress(TimeoutError):
            # Not `asyncio.wait_for`, which may swallow a cancellation.
            async with asyncio.timeout_at(min(soft_deadline, now() + MODEL_WAIT_SECONDS)):
                await self._loaded.wait()
        worker = self._worker
        if self._newest_request[1] != place:
            return Reply(cause=Cause.SUPERSEDED)
        if worker is None or worker.engine is None:
            failed = worker is not None and worker.state.kind == "failed"
            return Reply(cause=Cause.FAILED if failed else Cause.LOADING)
        if (cached := self._lookup_cached(snapshot, offset)) is not None:
            return _make_reply(cached, from_cache=True)
        began = now()
        future = asyncio.wrap_future(worker.submit(place, self._make_job(worker, snapshot, offset)))
        try:
            await asyncio.wait([future], timeout=max(0.0, soft_deadline - began))
            can_wait = hard_deadline > soft_deadline and not future.done()
            if can_wait and not await _is_worth_showing(worker.progress(place)):
                await asyncio.wait([future], timeout=max(0.0, hard_deadline - now()))
            if future.done():
                completion = future.result()
                self._schedule_acceptance_prefetch(snapshot, completion)
                if completion is None:
                    return Reply(cause=Cause.SUPERSEDED)
                if completion.infill.forward_passes and not completion.alternatives:
                    self._debounce = self._debounce.after_answer(now() - began)
                return _make_reply(completion)
            if snapshot.config.remote == "off":
                # The result will answer the next request for this place.
                worker.keep_running(place)
            committed: CommittedText | None = worker.progress(place)
        except NoResult as error:
            return Reply(empty_completion(offset, str(error)), Cause.UNANSWERED)
        finally:
            future.cancel()
        log.debug("The deadline came before the end.")
        completion = None if committed is None else await _judge_in_time(committed, soft_seconds)
        shown = completion is not None and completion.shown is not None
        return Reply(completion, Cause.NONE if shown else Cause.DEADLINE)

    def _debounce_seconds(self, snapshot: Snapshot, now: float) -> float:
        """Return the debounce of a request in seconds."""
        config = snapshot.config
        if config.debounce_ms >= 0:
            return config.debounce_ms / 1000
        return 0.0 if _prefetches(config) or snapshot.manual else self._debounce.wait_seconds(now)

    def _deadlines(self, snapshot: Snapshot) -> tuple[float, float]:
        """Return the soft and the hard deadline in seconds: for text that is worth showing, and for any answer.

        They differ only with a fallback and without `deadline_ms`: the hard one leaves time for the hosted model.
        """
        config, engine = snapshot.config, self._worker.engine if self._worker else None
        local = CPU_DEADLINE_SECONDS if engine is None or engine.device == "cpu" else GPU_DEADLINE_SECONDS
        hosted = ANSWER_SECONDS + REMOTE_GRACE_SECONDS
        defaults = {"off": (local, local), "always": (hosted, hosted), "fallback": (local, local + hosted)}
        soft, hard = (config.deadline_ms / 1000,) * 2 if config.deadline_ms else defaults[config.remote]
        factor = MANUAL_DEADLINES if snapshot.manual else 1
        return soft * factor, hard * factor

    def _lookup_cached(self, snapshot: Snapshot, offset: int) -> Completion | None:
        """Return the answer that the earlier results give, without a pass; None if they give none."""
        worker = self._worker
        if worker is None or not snapshot.config.anticipate:
            return None
        cached = cache.lookup(worker.recent_results(), snapshot, offset)
        if cached is not None:
            log.debug("Answered from memory.")
            worker.supersede()
            self._schedule_acceptance_prefetch(snapshot, cached)
        return cached

    def _schedule_acceptance_prefetch(self, snapshot: Snapshot, completion: Completion | None) -> None:
        """Schedule the prefetch at the place after an acceptance of a completion, once the reply is sent."""
        if completion is None or completion.shown is None or not _prefetches(snapshot.config):
            return
        if self._acceptance_timer is not None:
            self._acceptance_timer.cancel()
        # The event loop runs a timer, even of 0 s, after the callback that sends the reply.
        self._acceptance_timer = asyncio.get_running_loop().call_later(
            0, self._prefetch_after_acceptance, snapshot, completion
        )

    def _prefetch_after_acceptance(self, snapshot: Snapshot, completion: Completion) -> None:
        """Prefetch at the cursor after an acceptance of a completion, unless the worker is busy."""
        self._acceptance_timer = None
        if self._worker is not None and not self._worker.busy:
            document, start, shown = snapshot.document, completion.start, completion.shown or ""
            accepted = document.replace(start, completion.end, shown, document.version)
            self._prefetch(replace(snapshot, document=accepted, manual=False), start + len(shown))

    def _prefetch_alternatives(self, snapshot: Snapshot, offset: int) -> None:
        """Prefetch alternatives after a pause in typing, unless the worker is busy."""
        self._alternatives_timer = None
        if not self.busy:
            self._prefetch(snapshot, offset)

    def _prefetch(self, snapshot: Snapshot, offset: int) -> None:
        worker = self._worker
        if worker is not None and cache.lookup(worker.recent_results(), snapshot, offset) is None:
            worker.prefetch((snapshot, offset), self._make_job(worker, snapshot, offset))

    def _make_job(
        self, worker: Worker[Engine], snapshot: Snapshot, offset: int
    ) -> Callable[[Engine, Callable[[], bool], Callable[[object], None]], Completion | None]:
        on_preview = self.on_preview

        def job(
            engine: Engine, cancelled: Callable[[], bool], on_commit: Callable[[object], None]
        ) -> Completion | None:
            hint = None
            if snapshot.config.anticipate:
                interrupted = [worker.interrupted] if worker.interrupted else []
                hint = cache.draft_hint([*interrupted, *worker.recent_results()], snapshot, offset)
            on_progress = None if on_preview is None else partial(on_preview, (snapshot, offset))
            max_alternatives = snapshot.max_suggestions - 1
            options = Job(cancelled, on_progress, on_commit, hint, max_alternatives, self._pipeline_cache)
            try:
                return complete(snapshot, offset, engine, options)
            finally:
                if on_preview is not None:
                    on_preview((snapshot, offset), None)

        return job


def _make_reply(completion: Completion, from_cache: bool = False) -> Reply:
    return Reply(completion, Cause.NONE if completion.shown is not None else Cause.WITHHELD, from_cache)


async def _is_worth_showing(committed: CommittedText | None) -> bool:
    """Return whether the committed text is worth showing as it is."""
    if committed is None:
        return False
    completion = await _judge_in_time(committed, CPU_DEADLINE_SECONDS)
    return completion is not None and completion.shown is not None


async def _judge_in_time(committed: CommittedText, deadline_seconds: float) -> Completion | None:
    """Judge the committed text; return None if that takes longer than `JUDGE_SHARE` of the deadline.

    The thread that judges cannot be stopped, but the request does not wait for it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(max(MIN_JUDGE_SECONDS, JUDGE_SHARE * deadline_seconds)):
            return await asyncio.shield(asyncio.to_thread(committed.judge))
    log.debug("Judging what was committed took too long.")
    return None


def _prefetches(config: Config) -> bool:
    """Return whether the worker prefetches: never with a hosted model, which costs money and would see all typing."""
    return config.anticipate and config.remote == "off"
