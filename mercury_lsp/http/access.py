"""Checks the bearer token of a request, and enforces the rate limit of each client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from mercury_lsp.http.completions import Refused
from mercury_lsp.tokens import Tokens

# The number of clients whose buckets are kept, the most recent ones.
MAX_CLIENTS = 4096


class Access:
    """Checks tokens and rates. ``per_minute``: requests of each client, 0 for no limit; ``clock``: in seconds."""

    def __init__(
        self, tokens: Mapping[str, str], per_minute: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tokens = Tokens(tokens)
        self._per_second, self._capacity = per_minute / 60, max(1.0, per_minute / 6)
        self._clock = clock
        # By client: the tokens left in its bucket, and the time of that count.
        self._buckets: dict[str, tuple[float, float]] = {}

    def name(self, authorization: str) -> str:
        """Return the name of the client with this header, or "" if no token is needed. Raises `Refused`."""
        if not self._tokens:
            return ""
        scheme, _, token = authorization.partition(" ")
        name = self._tokens.name(token.strip() if scheme.lower() == "bearer" else "")
        if name is None:
            kind = "authentication_error"
            raise Refused(401, "This needs a valid token.", code="invalid_api_key", kind=kind)
        return name

    def take(self, client: str) -> None:
        """Take a token of a client's bucket, which holds a rate of ten seconds. Raises `Refused` if it is empty."""
        if not self._per_second:
            return
        now = self._clock()
        left, at = self._buckets.pop(client, (self._capacity, now))
        left = min(self._capacity, left + (now - at) * self._per_second)
        # Keep the buckets in the order of use, the most recent last.
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > MAX_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        if left < 1:
            code, kind, wait = "rate_limit_exceeded", "rate_limit_error", (1 - left) / self._per_second
            raise Refused(429, "Too many requests.", code=code, kind=kind, wait=wait)
