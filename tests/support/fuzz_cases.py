"""Says how many cases a fuzz tries: few by default, more with ``MERCURY_FUZZ=N pytest tests/...``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

VARIABLE = "MERCURY_FUZZ"


def cases(default: int) -> int:
    """The number of cases: ``default``, or what MERCURY_FUZZ says where that is more."""
    return max(default, int(os.environ.get(VARIABLE, "0")))


def fuzzed(default: int) -> Callable[[Any], Any]:
    """A test by hypothesis with so many cases, the same ones in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(max_examples=cases(default), derandomize=True, deadline=None, suppress_health_check=slow)
