"""Sets the number of cases of fuzz tests: few by default, more with ``MERCURY_FUZZ=N pytest tests/...``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

VARIABLE = "MERCURY_FUZZ"


def cases(default: int) -> int:
    """Return the number of cases: the larger of ``default`` and MERCURY_FUZZ."""
    return max(default, int(os.environ.get(VARIABLE, "0")))


def fuzzed(default: int) -> Callable[[Any], Any]:
    """Return hypothesis settings for so many cases, which are the same in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(max_examples=cases(default), derandomize=True, deadline=None, suppress_health_check=slow)
