"""Sessions: one task of a key at a time, so many of all, in the order of their coming."""

from __future__ import annotations

import asyncio

import pytest

from mercury_lsp.http.backend import Busy
from mercury_lsp.http.sessions import Sessions


def made(most: int = 2, running: int = 2, waiting: int = 2) -> tuple[Sessions[object], list[object]]:
    ended: list[object] = []
    return Sessions(object, ended.append, most, running, waiting), ended


async def test_a_key_finds_its_session_again_until_others_need_the_room() -> None:
    sessions, ended = made()
    first = await sessions.take("a")
    sessions.give("a", first)
    assert await sessions.take("a") is first
    sessions.give("a", first)
    for key in ("b", "c"):
        sessions.give(key, await sessions.take(key))
    assert ended == [first]
    assert sessions.kept == 2
    assert await sessions.take("a") is not first


async def test_a_session_that_broke_is_not_kept() -> None:
    sessions, ended = made()
    broken = await sessions.take("a")
    sessions.give("a", broken, keep=False)
    assert ended == [broken]
    assert await sessions.take("a") is not broken


async def test_tasks_of_one_key_wait_for_one_another_and_not_for_those_of_others() -> None:
    sessions, _ = made()
    first = await sessions.take("a")
    second = asyncio.create_task(sessions.take("a"))
    await asyncio.sleep(0)
    other = await sessions.take("b")
    assert not second.done()
    assert sessions.waiting == 1
    sessions.give("a", first)
    assert await second is first
    sessions.give("b", other)


async def test_so_many_run_so_many_wait_and_more_are_refused() -> None:
    sessions, _ = made(running=1, waiting=2)
    first = await sessions.take("a")
    waiting = [asyncio.create_task(sessions.take(key)) for key in ("b", "c")]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await sessions.take("d")
    sessions.give("a", first)
    late = asyncio.create_task(sessions.take("a"))
    session = await waiting[0]
    assert not waiting[1].done()
    assert not late.done()
    sessions.give("b", session)
    sessions.give("c", await waiting[1])
    assert await late is not None


async def test_who_gives_up_does_not_keep_a_turn() -> None:
    sessions, _ = made(running=1)
    first = await sessions.take("a")
    early, late = asyncio.create_task(sessions.take("b")), asyncio.create_task(sessions.take("c"))
    await asyncio.sleep(0)
    sessions.give("a", first)  # early has its turn, and does not know it yet
    early.cancel()
    assert await late is not None
    with pytest.raises(asyncio.CancelledError):
        await early
    assert sessions.used == 1
    assert sessions.waiting == 0


async def test_one_who_asks_for_much_leaves_the_others_their_share() -> None:
    sessions, _ = made(running=1, waiting=4)
    first = await sessions.take("a0", "ann")
    ann = [asyncio.create_task(sessions.take(f"a{number}", "ann")) for number in range(1, 5)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await sessions.take("a5", "ann")
    bob = [asyncio.create_task(sessions.take(f"b{number}", "bob")) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in ann] == [False, False, True, True]  # the newest made room
    for task in (*ann[2:], bob[2]):  # two each is fair
        with pytest.raises(Busy):
            await task
    sessions.give("a0", first)
    sessions.give("a1", await ann[0])
    order = []
    for _ in range(3):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (task,) = [task for task in (ann[1], *bob[:2]) if task.done() and task not in order]
        order.append(task)
        sessions.give("a2" if task is ann[1] else f"b{bob.index(task)}", task.result())
    assert sessions.used == sessions.waiting == 0


async def test_a_turn_goes_to_the_one_with_the_fewest_running() -> None:
    sessions, _ = made(most=3, running=3, waiting=9)
    ann = [await sessions.take(f"a{number}", "ann") for number in range(3)]
    more = [asyncio.create_task(sessions.take(f"a{number}", "ann")) for number in range(3, 6)]
    await asyncio.sleep(0)
    bob = asyncio.create_task(sessions.take("b", "bob"))
    await asyncio.sleep(0)
    sessions.give("a0", ann[0])
    await asyncio.sleep(0)
    assert bob.done() and not any(task.done() for task in more)
    for task in more:
        task.cancel()


async def test_who_is_refused_while_it_is_cancelled_takes_no_turn() -> None:
    sessions, _ = made(running=1, waiting=2)
    first = await sessions.take("a0", "ann")
    ann = [asyncio.create_task(sessions.take(f"a{number}", "ann")) for number in (1, 2)]
    await asyncio.sleep(0)
    bob = asyncio.create_task(sessions.take("b", "bob"))
    ann[1].cancel()
    await asyncio.sleep(0)
    sessions.give("a0", first)
    assert await ann[0] is not None
    assert sessions.used == 1 and not bob.done()
    bob.cancel()
