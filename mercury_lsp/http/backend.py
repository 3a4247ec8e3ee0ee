"""What the HTTP application asks of whatever answers: one protocol, behind which an engine in this process, or replicas
of it on other machines, stand.

Owns the interface and its values, which can be pickled. Knows neither HTTP nor engines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Task:
    """A middle that is wanted between ``prefix`` and ``suffix``, which are text as the client has it.

    ``key``: tasks of the same key, such as those in one document of one editor, find what the model has read for the
    last one; ``asker``: whose task it is, for those who ask have equal shares; ``drafts``: whether `Update`s while it
    sharpens are wanted, masks and all; ``single_line``: whether the middle ends with its line; ``temperature``: 0 takes
    the likeliest tokens; with others the same ``seed`` gives the same text, and None a new one.
    """

    prefix: str
    suffix: str = ""
    key: str = ""
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int | None = None
    single_line: bool = False
    drafts: bool = False
    path: str = ""
    asker: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """A middle as it is by now. ``text`` is all of it, not what is new.

    ``committed``: how many characters of it from the left change no more. The last update of a task has a ``finish``:
    stop where the model ended it or a stop text came, length where a limit did. Counts are of tokens, ``ms`` of the
    engine's own time, ``queue_ms`` of the wait before it.
    """

    text: str
    committed: int = 0
    finish: Literal["", "stop", "length"] = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    forward_passes: int = 0
    ms: float = 0.0
    queue_ms: float = 0.0
    replica: str = ""


class Busy(Exception):
    """So many tasks are waiting that this one is refused; ``wait`` seconds from now it may be let in."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__(wait)
        self.wait = wait


class Unavailable(Exception):
    """The model cannot answer now; the message is one sentence for who asked."""


class Backend(Protocol):
    """Answers tasks. ``model``: the name of the model that does."""

    model: str

    @property
    def ready(self) -> bool:
        """Whether it can answer by now."""
        ...

    def run(self, task: Task) -> AsyncIterator[Update]:
        """The updates of a task, the last with its ``finish``; closing the iterator cancels it.

        Raises `Busy`, `Unavailable`.
        """
        ...

    def metrics(self) -> str:
        """What there is to count, in Prometheus' text format."""
        ...

    async def close(self) -> None:
        """End all work."""
        ...
