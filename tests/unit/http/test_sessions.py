"""Sessions: one task of a key at a time, so many of all, in the order of their coming, and none waits for long."""

from __future__ import annotations

import asyncio

import pytest

from mercury_lsp.http.backend import Busy
from mercury_lsp.http.sessions import MIN_MEASURED_TASKS, Sessions


def made(most: int = 2, running: int = 2, waiting: int = 2) -> tuple[Sessions[object], list[object]]:
    ended: list[object] = []
    return Sessions(object, ended.append, most, running, waiting, 15.0), ended


async def test_a_key_finds_its_session_again_until_others_need_the_room() -> None:
    sessions, ended = made()
    first = await sessions.acquire("a")
    sessions.release("a", first)
    assert await sessions.acquire("a") is first
    sessions.release("a", first)
    for key in ("b", "c"):
        sessions.release(key, await sessions.acquire(key))
    assert ended == [first]
    assert sessions.kept == 2
    assert await sessions.acquire("a") is not first


async def test_a_session_that_broke_is_not_kept() -> None:
    sessions, ended = made()
    broken = await sessions.acquire("a")
    sessions.release("a", broken, keep=False)
    assert ended == [broken]
    assert await sessions.acquire("a") is not broken


async def test_tasks_of_one_key_wait_for_one_another_and_not_for_those_of_others() -> None:
    sessions, _ = made()
    first = await sessions.acquire("a")
    second = asyncio.create_task(sessions.acquire("a"))
    await asyncio.sleep(0)
    other = await sessions.acquire("b")
    assert not second.done()
    assert sessions.waiting == 1
    sessions.release("a", first)
    assert await second is first
    sessions.release("b", other)


async def test_so_many_run_so_many_wait_and_more_are_refused() -> None:
    sessions, _ = made(running=1, waiting=2)
    first = await sessions.acquire("a")
    waiting = [asyncio.create_task(sessions.acquire(key)) for key in ("b", "c")]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await sessions.acquire("d")
    sessions.release("a", first)
    late = asyncio.create_task(sessions.acquire("a"))
    session = await waiting[0]
    assert not waiting[1].done()
    assert not late.done()
    sessions.release("b", session)
    sessions.release("c", await waiting[1])
    assert await late is not None


async def test_who_gives_up_does_not_keep_a_turn() -> None:
    sessions, _ = made(running=1)
    first = await sessions.acquire("a")
    early, late = asyncio.create_task(sessions.acquire("b")), asyncio.create_task(sessions.acquire("c"))
    await asyncio.sleep(0)
    sessions.release("a", first)  # early has its turn, and does not know it yet
    early.cancel()
    assert await late is not None
    with pytest.raises(asyncio.CancelledError):
        await early
    assert sessions.used == 1
    assert sessions.waiting == 0


async def test_one_who_asks_for_much_leaves_the_others_their_share() -> None:
    sessions, _ = made(running=1, waiting=4)
    first = await sessions.acquire("a0", "ann")
    ann = [asyncio.create_task(sessions.acquire(f"a{number}", "ann")) for number in range(1, 5)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await sessions.acquire("a5", "ann")
    bob = [asyncio.create_task(sessions.acquire(f"b{number}", "bob")) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in ann] == [False, False, True, True]  # the newest made room
    for task in (*ann[2:], bob[2]):  # two each is fair
        with pytest.raises(Busy):
            await task
    sessions.release("a0", first)
    sessions.release("a1", await ann[0])
    order = []
    for _ in range(3):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (task,) = [task for task in (ann[1], *bob[:2]) if task.done() and task not in order]
        order.append(task)
        sessions.release("a2" if task is ann[1] else f"b{bob.index(task)}", task.result())
    assert sessions.used == sessions.waiting == 0


async def test_a_turn_goes_to_the_one_with_the_fewest_running() -> None:
    sessions, _ = made(most=3, running=3, waiting=9)
    ann = [await sessions.acquire(f"a{number}", "ann") for number in range(3)]
    more = [asyncio.create_task(sessions.acquire(f"a{number}", "ann")) for number in range(3, 6)]
    await asyncio.sleep(0)
    bob = asyncio.create_task(sessions.acquire("b", "bob"))
    await asyncio.sleep(0)
    sessions.release("a0", ann[0])
    await asyncio.sleep(0)
    assert bob.done() and not any(task.done() for task in more)
    for task in more:
        task.cancel()


async def test_who_is_refused_while_it_is_cancelled_takes_no_turn() -> None:
    sessions, _ = made(running=1, waiting=2)
    first = await sessions.acquire("a0", "ann")
    ann = [asyncio.create_task(sessions.acquire(f"a{number}", "ann")) for number in (1, 2)]
    await asyncio.sleep(0)
    bob = asyncio.create_task(sessions.acquire("b", "bob"))
    ann[1].cancel()
    await asyncio.sleep(0)
    sessions.release("a0", first)
    assert await ann[0] is not None
    assert sessions.used == 1 and not bob.done()
    bob.cancel()


class Clock:
    """The event loop's time, which passes only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)

    async def passes(self, seconds: float) -> None:
        for step in (0.0, seconds):  # what was begun before goes on first
            self.now += step
            for _ in range(4):
                await asyncio.sleep(0)


async def at_a_pace(clock: Clock, seconds: float, running: int, waiting: int = 100) -> Sessions[object]:
    """Sessions whose last tasks took so many seconds each, and which let nobody wait above ten."""
    sessions = Sessions(object, lambda _: None, 1000, running, waiting, wait_s=10)
    for _ in range(MIN_MEASURED_TASKS):
        session = await sessions.acquire("first")
        await clock.passes(seconds)
        sessions.release("first", session)
    return sessions


async def test_who_has_no_turn_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    sessions = Sessions(object, lambda _: None, 9, 1, 9, wait_s=10)
    first = await sessions.acquire("a")
    early = asyncio.create_task(sessions.acquire("b"))
    await clock.passes(6)
    late = asyncio.create_task(sessions.acquire("c"))
    await clock.passes(3.9)
    assert not early.done()
    await clock.passes(0.2)
    with pytest.raises(Busy):
        await early
    assert not late.done() and sessions.waiting == 1
    sessions.release("a", first)
    assert await late is not None


async def test_a_turn_that_comes_with_the_end_of_the_wait_is_given_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    sessions = Sessions(object, lambda _: None, 9, 1, 9, wait_s=10)
    first = await sessions.acquire("a")
    early = asyncio.create_task(sessions.acquire("b"))
    await clock.passes(6)
    late = asyncio.create_task(sessions.acquire("c"))
    await clock.passes(0)
    asyncio.get_running_loop().call_at(clock.now + 4, sessions.release, "a", first)
    await clock.passes(4.1)
    with pytest.raises(Busy):
        await early
    assert await late is not None
    assert (sessions.used, sessions.waiting) == (1, 0)


async def test_who_would_wait_too_long_is_refused_at_once_with_the_time_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    sessions = await at_a_pace(clock, seconds=2, running=1)
    await sessions.acquire("a")
    waiting = [asyncio.create_task(sessions.acquire(f"b{number}")) for number in range(5)]  # 2 to 10 s
    await clock.passes(0)
    with pytest.raises(Busy) as told:
        await sessions.acquire("c")
    assert told.value.wait == 10
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()


async def test_more_may_wait_where_more_run_and_where_tasks_are_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    for seconds, running, most in ((2, 4, 20), (0.5, 1, 20), (0.01, 1, 100), (50, 4, 4)):
        sessions = await at_a_pace(clock, seconds, running)
        tasks = [asyncio.create_task(sessions.acquire(str(number))) for number in range(150)]
        await clock.passes(0)
        assert (sessions.used, sessions.waiting) == (running, most)
        assert sum(task.done() for task in tasks) == 150 - most
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_those_who_turn_out_to_wait_too_long_are_refused_before_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    sessions = Sessions(object, lambda _: None, 1000, MIN_MEASURED_TASKS, 100, wait_s=10)
    running = [await sessions.acquire(str(number)) for number in range(MIN_MEASURED_TASKS)]
    waiting = [asyncio.create_task(sessions.acquire(f"b{number}")) for number in range(100)]
    await clock.passes(4)  # nobody knew how long a task takes
    for number, session in enumerate(running):
        sessions.release(str(number), session)
    await clock.passes(0)
    refused = [number for number, task in enumerate(waiting) if task.done() and task.exception()]
    assert refused == list(range(28, 100))  # 8 have their turn, and 20 more in ten seconds: not the newest 72
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_one_who_waits_too_long_makes_way_for_who_asks_less(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    sessions = await at_a_pace(clock, seconds=2.5, running=1)
    await sessions.acquire("a", "ann")
    ann = [asyncio.create_task(sessions.acquire(f"a{number}", "ann")) for number in range(4)]
    await clock.passes(0)
    bob = asyncio.create_task(sessions.acquire("b", "bob"))
    await clock.passes(0)
    assert [task.done() for task in (*ann, bob)] == [False, False, False, True, False]
    for task in (*ann, bob):
        task.cancel()
    await asyncio.gather(*ann, bob, return_exceptions=True)
