"""The picture and the table of a bench: each figure that was measured is in it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mercury_lsp.bench import picture
from mercury_lsp.bench.against import LONG_GROUP, SIDES
from mercury_lsp.cli.bench import _table
from mercury_lsp.errors import Failure

pytest.importorskip("matplotlib")
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
    "step_ms": {"8": 1.0, "16": 2.0},
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


@pytest.mark.parametrize("figures", [FIGURES, COMPARED])
def test_it_is_drawn_of_whatever_was_measured(tmp_path: Path, figures: dict[str, Any]) -> None:
    picture.check_picture(tmp_path / "bench.svg")
    picture.draw_figures(figures, tmp_path / "bench.svg")
    assert "<svg" in (tmp_path / "bench.svg").read_text(encoding="utf-8")


def test_what_cannot_be_written_ends_in_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(Failure, match="cannot be written to"):
        picture.draw_figures(FIGURES, tmp_path / "bench.nonsense")
    with pytest.raises(Failure, match="cannot be written to"):
        picture.draw_figures(FIGURES, folder)


def test_the_table_has_a_row_for_each_figure() -> None:
    output = StringIO()
    Console(file=output, width=120).print(_table(COMPARED))
    text = output.getvalue()
    rows = dict(line.split(maxsplit=1) for line in text.splitlines() if "promise" not in line)
    assert rows["keystroke_ms.cold"].split() == ["p50", "10.0", "p95", "1234.0"]
    assert rows["against.single_line.faster.diffusion_than_server"].strip() == "1.5"
    assert "with_speculation" not in text
    assert "1.0, wanted at least 2: missed" in text
