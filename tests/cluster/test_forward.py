"""Failures of replicas that a task survives, tested with a scripted handle instead of Ray's processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mercury_lsp.http.backend import Busy, Task, Update

pytest.importorskip("ray", reason="Ray is not installed: pip install 'mercury-lsp[cluster]'")
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from mercury_lsp.cluster import forward

HALF = Update("one two", committed=4, replica="a", tokens=2, forward_passes=2)
REST = Update("two three", committed=9, finish="stop", replica="b", tokens=2, forward_passes=1)
FULL = BackPressureError(num_queued_requests=2, max_queued_requests=2)


class Handle:
    """Answers each call of ``run`` with the next scripted reply: updates, possibly followed by an exception."""

    def __init__(self, *replies: list[Update | Exception]) -> None:
        self.run, self.remote, self.asked = self, self._remote, list[tuple[Task, tuple[str, ...]]]()
        self._replies = iter(replies)

    def options(self, **_: Any) -> Handle:
        return self

    async def _remote(self, task: Task, avoided: tuple[str, ...]) -> AsyncIterator[Update]:
        self.asked.append((task, avoided))
        for part in next(self._replies):
            if isinstance(part, Exception):
                raise part
            yield part


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "RETRY_PAUSE_SECONDS", 0.0)


async def updates(handle: Handle) -> list[Update]:
    return [update async for update in forward.ForwardingBackend(handle, "model").run(Task("", max_tokens=9))]


async def test_the_next_replica_continues_after_the_committed_text() -> None:
    handle = Handle([HALF, RayActorError()], [REST])
    last = (await updates(handle))[-1]
    assert (last.text, last.committed, last.tokens, last.forward_passes) == ("one two three", 13, 3, 3)
    assert handle.asked[1] == (Task("one ", max_tokens=8), ("a",))


async def test_a_new_task_is_refused_if_the_replicas_are_full() -> None:
    backend = forward.ForwardingBackend(Handle([FULL], [REST]), "model")
    with pytest.raises(Busy):
        await anext(backend.run(Task("")))
    assert "mercury_lost_total 0.0" in backend.metrics()


async def test_a_task_that_lost_its_replica_waits_for_room() -> None:
    handle = Handle([HALF, RayActorError()], [FULL], [FULL], [FULL], [FULL], [REST])
    assert (await updates(handle))[-1].text == "one two three"


async def test_the_wait_of_a_task_that_lost_its_replica_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "MAX_ROOM_WAIT_SECONDS", 0.0)
    backend = forward.ForwardingBackend(Handle([RayActorError()], [FULL], [REST]), "model")
    with pytest.raises(Busy):
        await anext(backend.run(Task("")))
    assert "mercury_lost_total 1.0" in backend.metrics()
