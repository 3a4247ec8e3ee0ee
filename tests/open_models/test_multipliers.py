"""Granite's multipliers: implausible values and values too large for their type are refused in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.gguf_files import save_gguf

from mercury_lsp.engine.backends.cpu.kernel import instruction_sets
from mercury_lsp.engine.backends.cpu.sources import OpenSource
from mercury_lsp.engine.backends.cpu.weights import PreparedWeights
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.checkpoints.gguf_checkpoint import read_gguf_checkpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.open_models.configurations import weight_factors
from mercury_lsp.engine.open_models.families import Unsupported

SHAPE = Shape(vocabulary=512, width=128, layers=2, heads=2, kv_heads=1, head_width=64, hidden=192)
NAMES = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", [0, 0.0, -1.0, float("nan"), float("inf"), 1e300, 10**400, 1e-300, 1e12, "12", True, [1]]
)
def test_an_implausible_multiplier_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"its {name} must be"):
        weight_factors({name: value}, SHAPE)


def test_an_attention_multiplier_is_refused_with_norms_of_the_heads() -> None:
    with pytest.raises(Unsupported, match="norms of the heads"):
        weight_factors({"attention_multiplier": 0.03}, replace(SHAPE, head_norms=True))


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
@pytest.mark.parametrize(("dtype", "quantization"), [("Q4_0", "int8"), ("F32", "int4")])
def test_scales_too_large_for_their_type_are_refused(
    dtype: str, quantization: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save_gguf(tmp_path / "large.gguf", "granite", dtype)
    loaded = read_gguf_checkpoint(tmp_path / "large.gguf")
    assert PreparedWeights.of(OpenSource(loaded, quantization)) is not None
    loaded = replace(loaded, name="larger", factors={"down.weight": 1e7})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match="too large, or no numbers"):
        PreparedWeights.of(OpenSource(loaded, quantization))
