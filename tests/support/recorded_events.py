"""Events for tests of the history and of what is made of it."""

from __future__ import annotations

import time
from typing import Any

from mercury_lsp.telemetry.store import Event


def event(**values: Any) -> Event:
    """An accepted suggestion, but for some values."""
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
