"""Checks the bearer token of a request, and limits how often each client may ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from mercury_lsp.tokens import Tokens

REMEMBERED = 4096  # askers whose rate is kept


class Denied(Exception):
    """No such token."""


class TooOften(Exception):
    """The rate is used up; ``wait`` seconds from now there is room for one request more."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = wait


class Access:
    """Tokens and rates. ``per_minute``: requests of each asker, 0 for any number; ``clock``: seconds."""

    def __init__(
        self, tokens: Mapping[str, str], per_minute: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tokens = Tokens(tokens)
        self._per_second, self._room = per_minute / 60, max(1.0, per_minute / 6)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # what was left, and when

    def name(self, authorization: str) -> str:
        """The name of who sends this header; empty where nobody needs a token. Raises `Denied`."""
        if not self._tokens:
            return ""
        scheme, _, token = authorization.partition(" ")
        name = self._tokens.name(token.strip() if scheme.lower() == "bearer" else "")
        if name is None:
            raise Denied
        return name

    def take(self, asker: str) -> None:
        """Count a request of an asker, by a token bucket that holds ten seconds' worth. Raises `TooOften`."""
        if not self._per_second:
            return
        now = self._clock()
        left, at = self._left.pop(asker, (self._room, now))
        left = min(self._room, left + (now - at) * self._per_second)
        self._left[asker] = (left - 1 if left >= 1 else left, now)  # the latest stands last
        _forget(self._left)
        if left < 1:
            raise TooOften((1 - left) / self._per_second)


def _forget(left: dict[str, tuple[float, float]]) -> None:
    excess: Iterable[str] = list(left)[: max(0, len(left) - REMEMBERED)]
    for asker in excess:
        del left[asker]
