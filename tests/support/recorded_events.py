"""Events for the tests of the history and its statistics."""

from __future__ import annotations

import time
from typing import Any

from mercury_lsp.telemetry.store import Event


def event(**values: Any) -> Event:
    """Return the event of an accepted suggestion, with some values changed."""
    usual: dict[str, Any] = {
        "moment": time.time(),
        "language": "python",
        "editor": "Test",
        "model": "word",
        "invoked": False,
        "outcome": "accepted",
        "cause": "",
        "latency_ms": 12.5,
        "shown": 9,
        "accepted": 7,
        "tokens": 3,
        "passes": 2,
        "recalled": True,
    }
    return Event(**usual | values)
