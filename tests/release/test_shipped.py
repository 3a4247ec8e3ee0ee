"""The shipped weights: each model loads and completes, and mini is small enough."""

from __future__ import annotations

import pytest

from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.tokenizer import Prompt
from model.compression.prune import compute

QUESTION = Prompt("sum.py", "def add(a, b):\n    ret", "", "\n\n\nprint(add(1, 2))\n")


@pytest.mark.parametrize("name", ["small", "mini"])
def test_a_shipped_model_loads_and_completes_a_word(name: str) -> None:
    engine = load_local_engine(name, "cpu", 1)
    assert engine.name == name
    found = engine.infill(QUESTION, Sampling(single_line=True))
    assert found.text.startswith("urn")
    assert found.finished


def test_a_pass_of_mini_takes_at_most_half_the_compute_of_small() -> None:
    small, mini = (
        Shape(**checkpoint.read_config(checkpoint.SHIPPED / name)["shape"])  # type: ignore[call-overload]
        for name in ("small", "mini")
    )
    assert compute(mini) <= compute(small) / 2


@pytest.mark.parametrize("name", ["small", "mini"])
def test_a_shipped_model_has_a_model_card(name: str) -> None:
    card = (checkpoint.SHIPPED / name / "README.md").read_text(encoding="utf-8")
    assert "License: Apache-2.0" in card
    assert "## Limits" in card
