"""Defines the limits of the HTTP service: sizes, times, rates and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Limits of the service.

    ``tokens``: the clients' names by their tokens; without tokens any client is allowed. ``aliases``: other names of
    the model. ``body_bytes``, ``body_s``: the largest body, and the seconds in which it must arrive. ``max_tokens``:
    the longest middle; ``default_tokens``: the limit if a request has none. ``per_minute``: requests of one client (by
    its token, or else by its address), 0 for no limit. ``timeout_s``: seconds from the body to the end of the answer.
    """

    tokens: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    body_bytes: int = 1 << 20
    body_s: float = 30.0
    max_tokens: int = 256
    default_tokens: int = 64
    per_minute: int = 0
    timeout_s: float = 30.0
