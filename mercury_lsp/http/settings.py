"""What the HTTP service allows: sizes, times, rates and tokens. Values only; knows neither HTTP nor engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Limits of the service. ``tokens``: the names of who may ask, by their secret; none lets everyone ask.

    ``aliases``: other names by which a client may call the model; ``body_bytes``, ``body_s``: the largest body, and the
    seconds in which it must arrive; ``max_tokens``: the longest middle, where ``default_tokens`` is that of who names
    none; ``per_minute``: requests of one token, or of one address where there are none, 0 for any number;
    ``timeout_s``: from a request's body to its answer's end.
    """

    tokens: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    body_bytes: int = 1 << 20
    body_s: float = 30.0
    max_tokens: int = 256
    default_tokens: int = 64
    per_minute: int = 0
    timeout_s: float = 30.0
