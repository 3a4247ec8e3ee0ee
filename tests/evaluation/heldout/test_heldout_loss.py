"""The loss per token: its figures, and the command on the tiny network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.models.tiny_models import TOKENIZER_JSON, tiny_network

from mercury_lsp.engine.tokenizer import Prompt, Tokenizer
from model.data.groups import encode_group
from model.data.spans import Hole
from model.evaluation.heldout.heldout_loss import figures, main, row
from model.training.batch import pack_contexts
from model.training.heldout_middles import HoleLoss, _middles, report
from model.training.layout import CAUSAL, lay_out
from model.training.save import save


@pytest.fixture
def heldout(corpus: Path) -> Path:
    """The corpus with all its files held out."""
    (corpus / "train-python.jsonl.gz").rename(corpus / "heldout-python.jsonl.gz")
    return corpus


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "trial.toml"
    file.write_text('base = "base"\nsteps = 9\nrows = 192\ncontexts = 2\n', encoding="utf-8")
    return file


def test_figures_weight_tokens_and_pair_batches() -> None:
    first = [((20.0, 10.0), (9.0, 3.0)), ((90.0, 30.0), (9.0, 3.0))]
    second = [((10.0, 10.0), (12.0, 3.0)), ((60.0, 30.0), (12.0, 3.0))]
    made = figures(second, first)
    assert made["next_token"] == {"nats": 1.75, "tokens": 40, "difference": -1.0, "interval": [-1.0, -1.0]}
    assert made["masked"]["difference"] == 1.0
    assert row("m", made, first=False)[:3] == ["m", "1.750", "-1.000 (-1.000 to -1.000)"]
    assert figures(first, first)["masked"]["difference"] == 0


def test_models_are_compared_on_held_out_files(
    heldout: Path, recipe: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = tiny_network()
    with torch.no_grad():
        # Every token is equally likely.
        flat.norm.weight.zero_()
    other = tmp_path / "flat"
    save(other, "flat", flat, TOKENIZER_JSON.read_text(encoding="utf-8"), {})
    options = ["--recipe", str(recipe), "--corpus", str(heldout), "--steps", "2"]
    assert main([str(other), str(tiny_model), *options, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["models"]
    even = torch.tensor(float(flat.shape.vocabulary)).log().item()
    assert made[str(other)]["next_token"]["nats"] == pytest.approx(even, abs=0.05)
    found = made[str(tiny_model)]
    assert found["next_token"]["tokens"] == made[str(other)]["next_token"]["tokens"] > 50
    assert found["masked"]["difference"] == pytest.approx(found["masked"]["nats"] - even, abs=0.06)
    assert main([str(tiny_model), *options]) == 0
    assert "held-out" in capsys.readouterr().out


def test_models_are_compared_on_the_same_held_out_middles(
    heldout: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = tiny_network()
    with torch.no_grad():
        flat.norm.weight.zero_()
    other = tmp_path / "flat"
    save(other, "flat", flat, TOKENIZER_JSON.read_text(encoding="utf-8"), {})
    options = ["--middles", "--contexts", "6", "--corpus", str(heldout)]
    assert main([str(other), str(tiny_model), *options, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["models"]
    first, second = made[str(other)], made[str(tiny_model)]
    even = torch.tensor(float(flat.shape.vocabulary)).log().item()
    assert first["nats"] == pytest.approx(even, abs=0.05)
    assert second["holes"] == first["holes"] > 5 and second["tokens"] == first["tokens"]
    assert 1 < second["contexts"] < second["holes"]
    assert second["difference"] == pytest.approx(second["nats"] - first["nats"], abs=1e-3)
    low, high = second["difference_interval"]
    assert low <= second["difference"] <= high
    assert 0 < first["nats_per_character"] < first["nats"]
    assert main([str(other), str(tiny_model), *options]) == 0
    assert "Held-out middles" in capsys.readouterr().out


def test_the_rows_of_a_middle_predict_its_tokens_and_its_end(tokenizer: Tokenizer) -> None:
    holes = [
        Hole("rest", Prompt("", "a = f(", ")", "\n"), "b, c"),
        Hole("rest", Prompt("", "a = f(b", ")", "\n"), ", c"),
    ]
    group = encode_group(holes, tokenizer)
    assert group is not None
    context = lay_out(group, tokenizer, 200, CAUSAL, torch.Generator())
    assert context is not None
    batch = pack_contexts([context, context])
    rows = _middles(batch, tokenizer.specials.fim_middle)
    texts = [tokenizer.decode(batch.target[0, own].tolist()) for own in rows]
    assert texts == ["b, c", ", c"] * 2
    assert all(batch.target[0, own[-1]] == tokenizer.specials.eot for own in rows)


def test_intervals_are_computed_over_contexts() -> None:
    # One context has a high loss and one a low loss: however many holes they have, they count as two samples.
    costs = [HoleLoss(context, 4.0 * context, 1, 1) for context in (0, 1) for _ in range(50)]
    made = report(costs)
    assert made["nats"] == 2.0 and made["contexts"] == 2
    assert made["interval"] == [0.0, 4.0]


def test_the_error_names_a_missing_model_or_corpus(
    corpus: Path, recipe: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="nowhere"):
        main([str(tmp_path / "nowhere"), "--recipe", str(recipe), "--corpus", str(corpus)])
    with pytest.raises(SystemExit, match="corpus"):
        main([str(tiny_model), "--recipe", str(recipe), "--corpus", str(tmp_path)])
