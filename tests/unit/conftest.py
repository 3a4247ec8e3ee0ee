"""Keep unit tests fast: only tests marked ``integration`` may start a process."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def no_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("integration") is None:

        def refused(*_: Any, **__: Any) -> None:
            raise AssertionError("A unit test starts a process; mark it with pytest.mark.integration.")

        monkeypatch.setattr(subprocess.Popen, "__init__", refused)
