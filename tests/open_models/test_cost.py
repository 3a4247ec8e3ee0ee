"""The estimated cost of bidirectional models grows with the model; other models have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.models.tiny_open_models import save_open

from mercury_lsp.engine.backends.cpu.kernel import instruction_sets
from mercury_lsp.engine.checkpoints.huggingface import read_open_checkpoint
from mercury_lsp.engine.open_models.cost import seconds_for

SIZES = {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
def test_only_models_that_read_the_prompt_in_every_pass_have_a_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = "mercury_lsp.engine.open_models.cost._products_per_second"
    save_open(tmp_path / "both", "dream", **SIZES)
    save_open(tmp_path / "grows", "dreamon", **SIZES)
    save_open(tmp_path / "blocks", "fast-dllm-v2", **SIZES)
    loaded = read_open_checkpoint(tmp_path / "both")
    measured = seconds_for(loaded)
    assert measured is not None and 0 < measured < 60
    monkeypatch.setattr(rate, lambda: 1e9)
    once = seconds_for(loaded)
    assert once == pytest.approx(5 * 768 * loaded.shape.parameters / 1e9)
    larger = replace(loaded, shape=replace(loaded.shape, layers=4))
    assert seconds_for(larger) > 1.5 * once
    assert seconds_for(read_open_checkpoint(tmp_path / "grows")) == pytest.approx(once / 5, rel=0.1)
    assert seconds_for(read_open_checkpoint(tmp_path / "blocks")) is None
