"""A backend without a model for test replicas; it writes slowly, so that a test can kill a replica meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from mercury_lsp.http.backend import Busy, Task, Unavailable, Update

WORDS = 20


class Slow:
    """Writes the words w0 to w19, one each ``pause`` seconds, but not again the words in the prefix.

    A task whose prefix has "busy" or "unavailable" in it is refused for that reason; "gently" makes the backend five
    times as slow.
    """

    def __init__(self, pause: float = 0.05) -> None:
        self.model, self.ready, self._pause = "slow", True, pause

    async def run(self, task: Task) -> AsyncIterator[Update]:
        for word, refusal in (("busy", Busy()), ("unavailable", Unavailable("It is out of order."))):
            if word in task.prefix:
                raise refusal
        text, begin = "", task.prefix.count("w")
        pause = self._pause * (5 if "gently" in task.prefix else 1)
        for number in range(begin, WORDS):
            await asyncio.sleep(pause)
            text += f"w{number} "
            last = number == WORDS - 1
            # The newest word is still a draft, which may change.
            committed = len(text) if last else len(text) - len(f"w{number} ")
            yield Update(text, committed, "stop" if last else "", tokens=number - begin + 1, forward_passes=1)

    def metrics(self) -> str:
        return ""

    async def close(self) -> None:
        self.ready = False


ALL = "".join(f"w{number} " for number in range(WORDS))
