"""Defines the protocol of a backend, and its values, which can be pickled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Task:
    """A request for the middle between ``prefix`` and ``suffix``, the client's text.

    ``key``: tasks of one key, such as those of one document, share a KV cache. ``client``: the client, for fair shares.
    ``drafts``: whether `Update`s with masks are wanted while the middle is denoised. ``temperature``: 0 selects the
    likeliest tokens; above 0 the same ``seed`` gives the same text, and None selects a random seed.
    """

    prefix: str
    suffix: str = ""
    key: str = ""
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int | None = None
    drafts: bool = False
    path: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """The state of a middle. ``text`` is the whole text, not only the new part.

    ``committed``: the number of leading characters that do not change any more. The last update has a ``finish``:
    "stop" if a stop token or a stop text ended the middle, "length" if a limit did.
    """

    text: str
    committed: int = 0
    finish: Literal["", "stop", "length"] = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    forward_passes: int = 0
    replica: str = ""


class Busy(Exception):
    """Raised if the queue is full; in ``wait`` seconds there may be room."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__(wait)
        self.wait = wait


class Unavailable(Exception):
    """Raised if the model cannot answer now; the message is one sentence for the user."""


class Backend(Protocol):
    """Answers tasks. ``model``: the model's name."""

    model: str

    @property
    def ready(self) -> bool:
        """Whether the backend can answer."""

    def run(self, task: Task) -> AsyncIterator[Update]:
        """Yield the updates of a task, the last one with its ``finish``; closing the iterator cancels the task.

        Raises `Busy`, `Unavailable`.
        """

    def metrics(self) -> str:
        """Return the counters in Prometheus' text format."""

    async def close(self) -> None:
        """Stop all work."""
