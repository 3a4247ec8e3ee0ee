"""Pruning: which layers and channels are removed, and the remaining network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.models.tiny_models import TINY, tiny_network

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.tokenizer import Tokenizer
from model.compression.prune import compute, drop_layers, loss, main, narrow
from model.data.step_data import Cuts, Steps
from model.training.batch import Batch
from model.training.recipe import Recipe


@pytest.fixture
def batches(corpus: Path, tokenizer: Tokenizer) -> list[Batch]:
    recipe = Recipe("trial", "", 2, rows=192, contexts=2)
    return list(Steps(recipe, tokenizer, Cuts(recipe, tokenizer, corpus))[0])


def test_a_layer_without_effect_is_removed_first(batches: list[Batch]) -> None:
    torch.manual_seed(0)
    network = Network(replace(TINY, layers=4)).requires_grad_(False)
    idle = network.layers[2]
    idle.attention.out.weight.zero_()  # type: ignore[union-attr]
    idle.down.weight.zero_()  # type: ignore[union-attr]
    whole = loss(network, batches)
    (index, left), (other, _) = drop_layers(network, 2, batches)
    assert index == 2 and other in (0, 1, 3)
    assert left == pytest.approx(whole)
    assert network.shape.layers == len(network.layers) == 2


def test_removing_channels_without_effect_changes_no_output(batches: list[Batch]) -> None:
    network = tiny_network()
    for layer in network.layers:
        layer.down.weight[:, 10:74] = 0.0  # type: ignore[union-attr, index]
    batch = batches[0]
    given = (batch.ids, batch.rows.position)
    before = network(*given)
    narrow(network, 64, batches)
    assert network.shape.hidden == 64
    torch.testing.assert_close(network(*given), before)


def test_compute_includes_the_vocabulary() -> None:
    shape = replace(TINY, width=576, layers=30, heads=9, kv_heads=3, head_width=64, hidden=1536)
    assert 0.5 < compute(replace(shape, layers=15)) / compute(shape) < 0.6
    assert compute(replace(shape, layers=15, hidden=960)) / compute(shape) < 0.5


def test_the_command_writes_a_checkpoint_that_loads(
    unpacked_model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "trial.toml"
    recipe.write_text(f'base = "{unpacked_model}"\nsteps = 1\nrows = 192\ncontexts = 2\n', encoding="utf-8")
    where = ["--recipe", str(recipe), "--corpus", str(corpus), "--out", str(tmp_path / "out")]
    main([str(unpacked_model), "--layers", "1", "--hidden", "64", *where])
    made = checkpoint.read_checkpoint(tmp_path / "out")
    assert (made.name, made.shape) == ("mini", replace(TINY, layers=1, hidden=64))
    assert made.about["pruned_from"] == checkpoint.read_checkpoint(unpacked_model).fingerprint[:12]
    assert "of the compute of a pass" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([str(unpacked_model), "--layers", "3", *where])
    assert "some must stay" in capsys.readouterr().err
