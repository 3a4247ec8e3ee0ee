"""The memory of two servers is measured, and both share the packed weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.loadtest import second_server as windows


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup")
async def test_a_second_server_shares_the_weights_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "PAUSE", 0)
    found = await windows.measure("mini", places=1)
    first, second = found["first"], found["second"]
    assert isinstance(first, dict) and isinstance(second, dict)
    # At least this many MB.
    weights = 60
    for server in (first, second):
        assert server["Private"] < server["Pss"] < server["Rss"] - weights / 2
    assert 0 < found["costs"] < first["Rss"] - weights  # type: ignore[operator]
