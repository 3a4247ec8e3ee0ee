"""Mixes the model's probabilities with what the project memory knows, by weights that depend on how sure both are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

DEPTH = 32
"""Most tokens of a context that are compared."""


class Level(NamedTuple):
    """What followed a context's last ``length`` tokens: ``ids``, the most frequent first, and their ``counts``.

    ``total``: at how many places these tokens stood, of which the counts may be a sample.
    """

    length: int
    ids: tuple[int, ...]
    counts: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Match:
    """What the memory knows of a context.

    ``project``, ``document``: of the other files and of the open document, the longest context that stood there
    before and, if there is one, a shorter one that stood there more often. ``path``: the file of the likeliest
    continuation, empty where nothing matches. ``resumes``: how many tokens of that continuation already stand after
    the cursor, so that the middle may be at its end.
    """

    project: tuple[Level, ...] = ()
    document: tuple[Level, ...] = ()
    path: str = ""
    resumes: int = 0

    @property
    def longest(self) -> Level | None:
        """The longest match; of two as long, the document's."""
        first = (*self.document[:1], *self.project[:1])
        return max(first, key=lambda level: level.length, default=None)

    @property
    def length(self) -> int:
        """Tokens of the longest match; 0 where there is none."""
        return self.longest.length if self.longest else 0

    @property
    def ids(self) -> tuple[int, ...]:
        """What followed the longest match, the most frequent first."""
        return self.longest.ids if self.longest else ()

    @property
    def counts(self) -> tuple[int, ...]:
        """How often each of ``ids`` followed."""
        return self.longest.counts if self.longest else ()


class Step(NamedTuple):
    """One token of a continuation: ``agreeing`` of the ``total`` places that match so far went on with it.

    ``length``: tokens that match before it, those of the continuation included; ``document``: whether the places are
    the open document's own.
    """

    token: int
    length: int
    total: int
    agreeing: int
    document: bool


class Memory(Protocol):
    """What stood in the project, asked for by a context: the last tokens, of which at most `DEPTH` are looked at."""

    def follow(self, context: Sequence[int]) -> Match:
        """What followed the longest parts of a context that stood somewhere before."""
        ...

    def foretell(self, context: Sequence[int], most: int) -> list[Step]:
        """The likeliest continuation of a context, at most so many tokens, with what speaks for each."""
        ...

    def continuation(self, context: Sequence[int], most: int) -> Sequence[int]:
        """The tokens of `foretell`."""
        ...
