"""Who may ask, and how often.

Owns the tokens and what each has left of its rate. Tokens are kept and compared as hashes, all of them each time, so
that the time a refusal takes tells nothing of them. Knows no HTTP but the header's form.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ENVIRONMENT = "MERCURY_TOKENS"
REMEMBERED = 4096  # askers whose rate is kept


class Denied(Exception):
    """No such token."""


class TooOften(Exception):
    """The rate is used up; ``wait`` seconds from now there is room for one request more."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = wait


def read_tokens(file: Path | None, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Names by token, of a file or else of the environment's `ENVIRONMENT`. Raises ``OSError``, ``ValueError``."""
    return parse_tokens(
        environment.get(ENVIRONMENT, "") if file is None else file.read_text(encoding="utf-8")
    )


def parse_tokens(text: str) -> dict[str, str]:
    """Names by token of lines ``TOKEN [NAME]``, where one that starts with # is a comment.

    A token without a name is called by its number. Raises ``ValueError`` for a token that is there twice.
    """
    tokens: dict[str, str] = {}
    for line in text.splitlines():
        token, _, name = line.strip().partition(" ")
        if not token or token.startswith("#"):
            continue
        if token in tokens:
            raise ValueError("a token stands there twice")
        tokens[token] = "".join(name.split()) or f"token-{len(tokens) + 1}"
    return tokens


class Access:
    """Tokens and rates. ``per_minute``: requests of each asker, 0 for any number; ``clock``: seconds."""

    def __init__(
        self, tokens: Mapping[str, str], per_minute: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = [(_hash(token), name) for token, name in tokens.items()]
        self._per_second, self._room = per_minute / 60, max(1.0, per_minute / 6)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # what was left, and when

    def name(self, authorization: str) -> str:
        """The name of who sends this header; empty where nobody needs a token. Raises `Denied`."""
        if not self._names:
            return ""
        scheme, _, token = authorization.partition(" ")
        given = _hash(token.strip() if scheme.lower() == "bearer" else "")
        found = [name for own, name in self._names if hmac.compare_digest(own, given)]
        if not found:
            raise Denied
        return found[0]

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


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
