"""Tests of the table of a benchmark: it contains each measured figure."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from mercury_lsp.bench.against import LONG_GROUP, SIDES
from mercury_lsp.cli.bench import _table

pytestmark = pytest.mark.integration

SPREAD = {"p50": 10.0, "p95": 1234.0}
GROUP = {"n": 7, "ms": dict.fromkeys(SIDES, SPREAD), "faster": {"diffusion_than_server": 1.5}}
FIGURES: dict[str, Any] = {
    "model": "tiny",
    "device": "cpu",
    "threads": 2,
    "context_tokens": 704,
    "keystroke_ms": {"cold": SPREAD, "typing": SPREAD},
    "with_speculation": None,
    "tokens_per_s": {"diffusion": 40.0, "autoregressive": 30.0},
    "typing_ms_by_context": None,
    "against": None,
    "targets": [],
}
COMPARED = FIGURES | {
    "typing_ms_by_context": {"512": 10.0, "4096": 20.0},
    "against": {"url": "http://x", "model": "", "single_line": GROUP, LONG_GROUP: None},
    "targets": [{"what": "a promise", "found": 1.0, "wanted": "at least 2", "met": False}],
}


def test_the_table_has_a_row_for_each_figure() -> None:
    output = StringIO()
    Console(file=output, width=120).print(_table(COMPARED))
    text = output.getvalue()
    rows = dict(line.split(maxsplit=1) for line in text.splitlines() if "promise" not in line)
    assert rows["keystroke_ms.cold"].split() == ["p50", "10.0", "p95", "1234.0"]
    assert rows["against.single_line.faster.diffusion_than_server"].strip() == "1.5"
    assert "with_speculation" not in text
    assert "1.0, wanted at least 2: missed" in text
