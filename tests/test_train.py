"""A training run: that it resumes as if never stopped, starts from a checkpoint, and leaves what it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mercury_lsp.engine import checkpoint
from model.recipe import Recipe
from model.train import main, rate_at


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> Path:
    file = tmp_path / "trial.toml"
    lines = [
        f'base = "{tiny_model}"',
        "steps = 6",
        "rows = 192",
        "contexts = 2",
        "bf16 = false",
        "warmup = 2",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def run(recipe: Path, corpus: Path, runs: Path, *options: str) -> dict[str, torch.Tensor]:
    main([str(recipe), "--corpus", str(corpus), "--runs", str(runs), "--device", "cpu", *options])
    return dict(checkpoint.load(runs / "trial" / "checkpoint").network.state_dict())


def metrics(runs: Path) -> list[dict[str, float]]:
    return [
        json.loads(line)
        for line in (runs / "trial" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_a_resumed_run_equals_an_unbroken_one(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    # The schedule knows the whole run's length: only the warm-up and the constant part are the same at both lengths.
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\ndecay = 0.0\n", encoding="utf-8")
    whole = run(recipe, corpus, tmp_path / "unbroken")
    first = run(recipe, corpus, tmp_path / "again", "--steps", "3")
    second = run(recipe, corpus, tmp_path / "again")
    assert [line["step"] for line in metrics(tmp_path / "again")] == [1, 2, 3, 4, 5, 6]
    name = "layers.0.down.weight"
    assert not first[name].equal(second[name])
    for key, weight in whole.items():
        torch.testing.assert_close(second[key], weight, msg=key)


def test_a_run_starts_at_its_base_and_learns(
    recipe: Path, corpus: Path, tmp_path: Path, tiny_model: Path
) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\nrate = 0.003\n", encoding="utf-8")
    trained = run(recipe, corpus, tmp_path, "--steps", "30")
    base = checkpoint.load(tiny_model).network.state_dict()
    moved = max(float((trained[key] - base[key]).abs().max()) for key in base)
    assert 0 < moved < 0.5
    losses = [line["loss"] for line in metrics(tmp_path)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    about = checkpoint.load(tmp_path / "trial" / "checkpoint").about
    assert about["step"] == 30
    assert (tmp_path / "trial" / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = Recipe("r", "base", steps=100, warmup=10, decay=0.5, rate=1.0)
    rates = [rate_at(step / 100, step, recipe) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:51] == pytest.approx([1.0] * 42)
    assert rates[75] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.05)


def test_a_recipe_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('base = "base"\nsteps = 1\nspeed = 9\n', encoding="utf-8")
    with pytest.raises(TypeError, match="speed"):
        Recipe.read(file)


def test_every_recipe_can_be_read() -> None:
    files = sorted((Path(__file__).parent.parent / "model" / "recipes").glob("*.toml"))
    assert files
    for file in files:
        assert Recipe.read(file).name == file.stem
