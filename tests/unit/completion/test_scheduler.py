"""The desk, with an engine that writes what it is told, token by token: memory, work ahead, deadlines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest
from support.models.scripted_engine import BEFORE, WAIT, WHOLE, WRITTEN, Scripted, place, shown

from mercury_lsp.completion.committed import CommittedText
from mercury_lsp.completion.debounce import Debounce
from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Cause, Reply, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context.retrieval.index import Library, read
from mercury_lsp.context.retrieval.ranking import Related
from mercury_lsp.engine import load
from mercury_lsp.engine.tokenizer import Hint
from mercury_lsp.syntax.document import Document


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    engine = Scripted()
    monkeypatch.setattr(load, "load_engine", lambda *_: engine)
    return engine


@pytest.fixture
async def scheduler(engine: Scripted) -> AsyncIterator[CompletionScheduler]:
    scheduler, ready = CompletionScheduler(), asyncio.Event()
    assert scheduler.load(Config(), lambda state: ready.set() if state.kind == "ready" else None)
    assert not scheduler.load(Config(), lambda state: None)
    await asyncio.wait_for(ready.wait(), WAIT)
    yield scheduler
    engine.let(100)
    scheduler.close()


async def idle(scheduler: CompletionScheduler) -> None:
    """Wait until there is nothing to do."""
    while scheduler.debug_state["busy"]:
        await asyncio.sleep(0.001)


async def test_a_suggestion_is_followed_by_what_comes_behind_it(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    assert shown(await scheduler.complete(*place())) == WHOLE
    engine.written = [", and", " others"]
    await idle(scheduler)
    assert engine.prompts == [BEFORE, BEFORE + WHOLE]
    scheduler.on_change(*place(BEFORE + WHOLE))  # the user accepts
    assert not scheduler.debug_state["busy"]
    assert (await scheduler.complete(*place(BEFORE + WHOLE))).completion is not None
    await idle(scheduler)
    assert scheduler.debug_state["begun"] == len(engine.prompts) == 3  # the third follows the second


async def test_what_is_typed_of_a_suggestion_is_answered_without_a_job(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    await scheduler.complete(*place())
    await idle(scheduler)
    for typed in range(len(WHOLE)):
        there = place(BEFORE + WHOLE[:typed])
        scheduler.on_change(*there)
        found = (await scheduler.complete(*there)).completion
        assert shown(found) == WHOLE[typed:]
        assert found is not None and found.start == found.end == len(BEFORE) + typed
    await idle(scheduler)
    assert scheduler.debug_state["begun"] == 2
    for typed in reversed(range(len(WHOLE))):  # and taken back
        assert shown(await scheduler.complete(*place(BEFORE + WHOLE[:typed]))) == WHOLE[typed:]
    assert scheduler.debug_state["begun"] == 2


async def test_what_is_typed_instead_is_a_hint(scheduler: CompletionScheduler, engine: Scripted) -> None:
    await scheduler.complete(*place())
    await idle(scheduler)
    await scheduler.complete(*place(BEFORE + "men"))
    assert engine.prompts[2:3] == [BEFORE + "men"]
    assert engine.hints[:3] == [None, Hint(WHOLE, WHOLE), Hint(WHOLE, "men")]


async def test_what_was_settled_when_a_key_came_is_a_hint(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    engine.held = True
    scheduler.on_change(*place())
    await engine.pass_(2)
    scheduler.on_change(*place(BEFORE + "m"))
    engine.let(1)
    await engine.pass_(3)
    assert engine.hints == [None, Hint("many more", "m")]


async def test_work_starts_at_the_change_and_the_request_shares_it(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    engine.held = True
    scheduler.on_change(*place())
    await engine.pass_(1)
    asked = asyncio.create_task(scheduler.complete(*place()))
    engine.let(100)
    assert shown(await asked) == WHOLE
    assert engine.prompts.count(BEFORE) == 1


async def test_what_was_done_at_the_change_is_there_when_the_request_comes(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    scheduler.on_change(*place())
    await idle(scheduler)
    assert scheduler.debug_state["begun"] == 1
    assert shown(await scheduler.complete(*place())) == WHOLE
    assert engine.prompts.count(BEFORE) == 1


async def test_what_is_done_while_a_request_waits_for_typing_is_not_done_again(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    engine.held = True
    scheduler.on_change(*place(debounce_ms=50))
    asked = asyncio.create_task(scheduler.complete(*place(debounce_ms=50)))
    await engine.pass_(3)
    engine.held = False
    assert shown(await asked) == WHOLE
    assert engine.prompts.count(BEFORE) == 1


async def test_a_newer_change_stops_the_older_ones_work_within_a_pass(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    engine.held = True
    scheduler.on_change(*place())
    await engine.pass_(1)
    for typed in ("m", "me", "men"):
        scheduler.on_change(*place(BEFORE + typed))
    engine.let(1)  # in which the first is seen to be superseded
    await engine.pass_(3)
    await idle(scheduler)
    assert engine.prompts == [BEFORE, BEFORE + "men"]
    assert engine.passes == 4


async def test_a_change_lets_the_request_before_it_be_answered(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    engine.held = True
    asked = asyncio.create_task(scheduler.complete(*place()))
    await engine.pass_(1)
    scheduler.on_change(*place(BEFORE + "x"))
    engine.let(2)
    assert shown(await asked) == WHOLE
    await engine.pass_(2 + 3)
    await idle(scheduler)
    assert engine.prompts == [BEFORE, BEFORE + "x"]


async def test_a_newer_request_is_answered_and_the_older_one_empty(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    engine.held = True
    older = asyncio.create_task(scheduler.complete(*place()))
    await engine.pass_(1)
    newer = asyncio.create_task(scheduler.complete(*place(BEFORE + "x")))
    assert await older == Reply(cause=Cause.SUPERSEDED)
    engine.let(100)
    assert shown(await newer) == WHOLE
    assert engine.prompts[:2] == [BEFORE, BEFORE + "x"]


async def test_a_request_that_came_before_stays_older_whatever_it_waited_for(
    scheduler: CompletionScheduler,
) -> None:
    before = scheduler.next_request_number()
    newer = asyncio.create_task(scheduler.complete(*place(BEFORE + "x")))
    await asyncio.sleep(0)
    assert await scheduler.complete(*place(), before) == Reply(cause=Cause.SUPERSEDED)
    assert (
        shown(await scheduler.complete(*place(BEFORE + "x"), request_number=before)) == WHOLE
    )  # the same is asked
    assert shown(await newer) == WHOLE


async def test_an_answer_from_memory_supersedes_older_requests(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    await scheduler.complete(*place())
    await idle(scheduler)
    engine.hold()
    older = asyncio.create_task(scheduler.complete(*place("other ")))
    while not scheduler.debug_state["busy"]:
        await asyncio.sleep(0)
    assert shown(await scheduler.complete(*place())) == WHOLE
    assert await older == Reply(cause=Cause.SUPERSEDED)


async def test_a_cancelled_request_stops_its_job(scheduler: CompletionScheduler, engine: Scripted) -> None:
    engine.held = True
    asked = asyncio.create_task(scheduler.complete(*place()))
    await engine.pass_(1)
    asked.cancel()
    with suppress(asyncio.CancelledError):
        await asked
    assert asked.cancelled()
    engine.let(1)
    await idle(scheduler)
    assert engine.passes == 1


async def test_at_the_deadline_what_is_settled_is_shown_and_the_rest_is_remembered(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    engine.held = True
    scheduler.on_change(*place(deadline_ms=1))
    await engine.pass_(2)
    found = (await scheduler.complete(*place(deadline_ms=1))).completion
    assert shown(found) == "many more"
    assert found is not None and not found.infill.finished
    await engine.pass_(1)
    await idle(scheduler)
    assert shown(await scheduler.complete(*place(deadline_ms=1))) == WHOLE
    assert engine.prompts.count(BEFORE) == 1


@pytest.mark.parametrize("anticipate", [True, False])
async def test_nothing_is_shown_where_nothing_is_settled_and_the_work_goes_on(
    scheduler: CompletionScheduler, engine: Scripted, anticipate: bool
) -> None:
    engine.held = True
    assert (await scheduler.complete(*place(deadline_ms=1, anticipate=anticipate))).completion is None
    assert scheduler.debug_state["busy"]
    await engine.pass_(3)
    await idle(scheduler)
    assert engine.prompts == [BEFORE]


async def test_a_newer_change_stops_what_came_too_late(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    engine.held = True
    assert (await scheduler.complete(*place(deadline_ms=1))).completion is None
    await engine.pass_(1)
    scheduler.on_change(*place(BEFORE + "x", deadline_ms=1))
    engine.let(1)
    await engine.pass_(3)
    assert engine.prompts == [BEFORE, BEFORE + "x"]
    assert engine.passes == 4


async def test_the_deadline_is_the_devices_and_longer_for_who_asks(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    snapshot, _ = place(deadline_ms=0)
    assert scheduler._deadlines(snapshot) == (0.25, 0.25)
    engine.device = "cuda:0"
    assert scheduler._deadlines(snapshot) == (0.06, 0.06)
    assert scheduler._deadlines(replace(snapshot, manual=True)) == (0.6, 0.6)
    assert scheduler._deadlines(place(deadline_ms=400)[0]) == (0.4, 0.4)


@pytest.mark.parametrize(("remote", "first"), [("always", 2.1), ("fallback", 0.25)])
def test_a_hosted_model_has_its_own_time(remote: str, first: float) -> None:
    snapshot, _ = place(deadline_ms=0, remote=remote)
    last = first + (2.1 if remote == "fallback" else 0.0)
    assert CompletionScheduler()._deadlines(snapshot) == pytest.approx((first, last))
    snapshot, _ = place(deadline_ms=400, remote=remote)
    assert CompletionScheduler()._deadlines(snapshot) == (0.4, 0.4)  # what the user says


async def test_nothing_is_done_ahead_nor_remembered_where_that_is_switched_off(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    there = place(anticipate=False)
    scheduler.on_open(there[0])
    scheduler.on_change(*there)
    assert scheduler.debug_state == {"begun": 0, "busy": False}
    for _ in range(2):
        assert shown(await scheduler.complete(*there)) == WHOLE
        assert not scheduler.debug_state["busy"]
    assert engine.prompts == [BEFORE, BEFORE]
    assert engine.hints == [None, None]


async def test_no_work_is_done_where_nothing_may_be_suggested(scheduler: CompletionScheduler) -> None:
    for there in (place(uri="file:///w/.env"), place(enabled=False), place("a\0b")):
        scheduler.on_open(there[0])
        scheduler.on_change(*there)
        assert scheduler.debug_state == {"begun": 0, "busy": False}


async def test_what_is_shown_beside_stays_while_the_user_types(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    """The jobs of a document share what was chosen, whatever the library says meanwhile."""
    words = "alpha_word beta_word gamma_word"
    before = f"{words}\n"
    for number, typed in enumerate(("a", "al", "alp", "other_word\n", "other_word\nx")):
        other = f"{number} {words} {words}\nand more lines\nof it {number}"
        library = Library({"b.txt": read("b.txt", other)}, opened=("b.txt",))
        snapshot, offset = place(before + typed)
        await scheduler.complete(replace(snapshot, library=library, related=Related(400)), offset)
        await idle(scheduler)
    assert len(engine.related) > 4
    assert {len(related) for related in engine.related} == {1} and len(set(engine.related)) == 1


async def test_an_opened_document_is_read_from_its_top(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    scheduler.on_open(place("first\nsecond\n")[0])
    await idle(scheduler)
    assert engine.read == ["first"]
    assert engine.prompts == []


async def test_unlikely_text_is_not_followed(scheduler: CompletionScheduler, engine: Scripted) -> None:
    found = (await scheduler.complete(*place(show_likelihood=1))).completion
    assert found is not None and found.shown is None
    assert not scheduler.debug_state["busy"]
    await scheduler.complete(*place(show_likelihood=1))
    assert engine.prompts == [BEFORE]  # that nothing is shown is remembered too


async def test_it_tells_what_came_from_memory_and_why_there_is_nothing(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    first = await scheduler.complete(*place())
    again = await scheduler.complete(*place())
    assert (first.cause, first.from_cache) == (again.cause, not again.from_cache) == (Cause.NONE, False)
    await idle(scheduler)
    engine.hold()
    older = asyncio.create_task(scheduler.complete(*place("other ")))
    await engine.pass_(1)
    assert await scheduler.complete(*place("another ", deadline_ms=1)) == Reply(cause=Cause.DEADLINE)
    assert await older == Reply(cause=Cause.SUPERSEDED)


async def test_it_tells_that_there_is_no_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("too large")

    failed = asyncio.Event()
    monkeypatch.setattr(load, "load_engine", fail)
    scheduler = CompletionScheduler()
    assert await scheduler.complete(*place(deadline_ms=1)) == Reply(cause=Cause.LOADING)
    assert scheduler.load(Config(), lambda state: failed.set() if state.kind == "failed" else None)
    await asyncio.wait_for(failed.wait(), WAIT)
    assert await scheduler.complete(*place()) == Reply(cause=Cause.FAILED) and scheduler.model == ""
    scheduler.close()


def asking(there: tuple[Snapshot, int]) -> tuple[Snapshot, int]:
    """The same place, when the user asks."""
    return replace(there[0], manual=True), there[1]


async def test_who_asks_has_several_and_others_one(scheduler: CompletionScheduler, engine: Scripted) -> None:
    found = (await scheduler.complete(*asking(place()))).completion
    assert found is not None and shown(found) == WHOLE
    assert [other.shown for other in found.alternatives] == ["some", "many things"]
    await idle(scheduler)
    typed = (await scheduler.complete(*asking(place(BEFORE + "many")))).completion
    assert shown(typed) == " more words"
    assert typed is not None and [other.shown for other in typed.alternatives] == [" things"]
    unasked = (await scheduler.complete(*place())).completion
    assert shown(unasked) == WHOLE and unasked is not None and unasked.alternatives == ()
    assert engine.branched == [BEFORE]


async def test_what_was_shown_unasked_is_not_all_that_there_is(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    assert shown(await scheduler.complete(*place())) == WHOLE
    await idle(scheduler)
    assert engine.branched == []
    found = (await scheduler.complete(*asking(place()))).completion
    assert shown(found) == WHOLE and found is not None and len(found.alternatives) == 2
    assert engine.branched == [BEFORE]


async def test_in_the_middle_of_a_word_only_who_asks_is_answered(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    there = place("some wo", "rds")
    scheduler.on_change(*there)
    await idle(scheduler)
    found = (await scheduler.complete(*there)).completion
    assert (
        found is not None and found.shown is None and found.reason == "the cursor is in the middle of a word"
    )
    assert engine.passes == 0
    assert shown(await scheduler.complete(*asking(there))) is not None
    assert engine.passes == len(WRITTEN)


async def test_a_suggestion_that_is_typed_through_stays_where_none_would_begin(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    def code(text: str) -> tuple[Snapshot, int]:
        document = Document("file:///w/a.js", "a.js", "javascript", 1, text)
        return Snapshot(document, Config(deadline_ms=60_000, in_strings_and_comments=False)), len(text)

    engine.written = ["f('", "many words", "')"]
    assert shown(await scheduler.complete(*code("x = "))) == "f('many words')"
    await idle(scheduler)
    assert shown(await scheduler.complete(*code("x = f('many"))) == " words')"
    other = (await scheduler.complete(*code("x = f('few"))).completion
    assert other is not None and "in_strings_and_comments" in (other.reason or "")


async def test_a_request_waits_as_the_settings_and_the_pace_say(scheduler: CompletionScheduler) -> None:
    now = 10.0
    scheduler._debounce = Debounce(last=now, gap=0.1, latency=0.3)
    slow = place(anticipate=False)[0]
    assert scheduler._debounce_seconds(slow, now) == pytest.approx(0.1)
    assert scheduler._debounce_seconds(replace(slow, manual=True), now) == 0
    assert scheduler._debounce_seconds(place()[0], now) == 0  # the work began at the change
    assert scheduler._debounce_seconds(place(debounce_ms=70)[0], now) == 0.07
    assert scheduler._debounce_seconds(place(debounce_ms=0, anticipate=False)[0], now) == 0


async def test_the_pace_is_learned_from_changes_and_from_answers_of_the_model(
    scheduler: CompletionScheduler,
) -> None:
    for typed in ("", "a", "ab"):
        scheduler.on_change(*place(BEFORE + typed, anticipate=False))
    assert scheduler._debounce.gap is not None and scheduler._debounce.latency is None
    await scheduler.complete(*place())
    learned = scheduler._debounce.latency
    assert learned is not None and learned > 0
    await scheduler.complete(*place())  # from memory
    assert scheduler._debounce.latency == learned


async def test_further_candidates_are_worked_out_when_the_user_pauses(
    scheduler: CompletionScheduler, engine: Scripted
) -> None:
    scheduler.alternatives_delay = 0.01
    snapshot, offset = place()
    scheduler.on_change(snapshot, offset)
    await idle(scheduler)
    passes = engine.passes
    stepping = replace(snapshot, wants_alternatives=True)
    found = (await scheduler.complete(stepping, offset)).completion
    assert found is not None and found.shown == WHOLE and engine.passes == passes
    assert [other.shown for other in found.alternatives]
    plain = (await scheduler.complete(snapshot, offset)).completion
    assert plain is not None and plain.shown == WHOLE and not plain.alternatives


async def test_what_takes_too_long_to_judge_is_not_waited_for(
    scheduler: CompletionScheduler, engine: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging, over = threading.Event(), threading.Event()

    def judge(committed: CommittedText) -> None:
        judging.set()
        over.wait(30)

    monkeypatch.setattr(CommittedText, "judge", judge)
    engine.held = True
    scheduler.on_change(*place(deadline_ms=1))
    await engine.pass_(2)
    began = time.monotonic()
    assert (await scheduler.complete(*place(deadline_ms=1))).completion is None
    assert judging.is_set() and time.monotonic() - began < 10  # 51 ms, on a machine that does nothing else
    over.set()
