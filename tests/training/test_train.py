"""A training run: it resumes without a difference, starts from a checkpoint, and writes the expected files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from support import ROOT
from support.models.tiny_models import TOKENIZER_JSON, save_unpacked
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.pack import Packed
from model.compression import ship
from model.compression.quantization_grid import pack, unpack
from model.compression.rounding import Rounding, bits
from model.data.shards import write
from model.data.step_data import Cuts, Steps
from model.training.attention import attention
from model.training.batch import Batch
from model.training.objective import Objective
from model.training.recipe import Recipe
from model.training.run import Run
from model.training.save import GROUP, save
from model.training.train import main, unseen_batches


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


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint."""
    return dict(Network.of(checkpoint.read_checkpoint(folder)).state_dict())


def run(recipe: Path, corpus: Path, runs: Path, *options: str) -> dict[str, torch.Tensor]:
    main([str(recipe), "--corpus", str(corpus), "--runs", str(runs), "--device", "cpu", *options])
    return weights_of(runs / "trial" / "checkpoint")


def assert_same_training(one: Path, other: Path) -> None:
    """Compare the unrounded weights of two runs: lost state changes almost all of them by about the learning rate.

    The order of float operations may flip single levels of quantized weights and, by GPTQ, the values after them.
    """
    first, second = (
        torch.load(runs / "trial" / "state.pt", weights_only=True)["network"] for runs in (one, other)
    )
    assert first.keys() == second.keys()
    for name, weight in first.items():
        different = (second[name] - weight).abs() > 1e-5
        assert different.float().mean() < 0.01, name


def metrics(runs: Path) -> list[dict[str, float]]:
    return [
        json.loads(line)
        for line in (runs / "trial" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_a_resumed_run_equals_an_uninterrupted_one(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    # The schedule depends on the run's length: only warm-up and constant part are the same for both lengths.
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\ndecay = 0.0\n", encoding="utf-8")
    whole = run(recipe, corpus, tmp_path / "unbroken")
    first = run(recipe, corpus, tmp_path / "again", "--steps", "3")
    second = run(recipe, corpus, tmp_path / "again")
    assert [line["step"] for line in metrics(tmp_path / "again")] == [1, 2, 3, 4, 5, 6]
    name = "layers.0.down.weight"
    assert not first[name].equal(second[name])
    for key, weight in whole.items():
        torch.testing.assert_close(second[key], weight, msg=key)


PHASES = """
packed = true
causal = 0.5
teacher = "self"
taught = 0.5
part = 1
decay = 0.0
curve_rows = 300
"""


@pytest.mark.parametrize("more", ["", 'lanes = 2\noptimizer = "muon"\nrounded = 0.3\n'])
def test_a_resumed_packed_run_in_phases_equals_an_uninterrupted_one(
    recipe: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    monkeypatch.setattr("model.training.heldout_middles.CONTEXTS", 6)
    held = corpus / "heldout-python.jsonl.gz"
    held.write_bytes((corpus / "train-python.jsonl.gz").read_bytes())
    recipe.write_text(recipe.read_text(encoding="utf-8") + PHASES + more, encoding="utf-8")
    run(recipe, corpus, tmp_path / "unbroken")
    lines = metrics(tmp_path / "unbroken")
    assert [line["masked"] > 0 for line in lines] == [False] * 3 + [True] * 3
    assert lines[-1]["rows"] == sum(rows_of_steps(recipe, corpus))
    settings = recipe.read_text(encoding="utf-8")
    # The first half alone, then the whole; the phases of the first half are those of the whole run.
    recipe.write_text(
        settings.replace("causal = 0.5", "causal = 1.0").replace("0.3", "0.0"), encoding="utf-8"
    )
    run(recipe, corpus, tmp_path / "again", "--steps", "3")
    recipe.write_text(settings, encoding="utf-8")
    run(recipe, corpus, tmp_path / "again")
    assert_same_training(tmp_path / "unbroken", tmp_path / "again")
    points = [tmp_path / name / "trial" / "curve.jsonl" for name in ("unbroken", "again")]
    first, second = ([json.loads(line) for line in file.read_text("utf-8").splitlines()] for file in points)
    assert [point["step"] for point in first] == [point["step"] for point in second]
    assert [point["nats"] for point in first] == pytest.approx([point["nats"] for point in second])
    assert first[0]["step"] == 0 and len(first) > 2
    about = checkpoint.read_checkpoint(tmp_path / "again" / "trial" / "checkpoint").about
    assert about["curve"] == [[point["rows"], point["nats"]] for point in second]


def test_a_step_with_canvases_has_no_more_rows_than_its_recipe_allows(recipe: Path, corpus: Path) -> None:
    lines = [recipe.read_text(encoding="utf-8"), "packed = true", "canvas_rows = 40", "rows = 512"]
    recipe.write_text("\n".join(lines).replace("rows = 192\n", ""), encoding="utf-8")
    settings = Recipe.read(recipe)
    tokenizer = checkpoint.read_checkpoint(Path(settings.base)).tokenizer
    steps = Steps(settings, tokenizer, Cuts(settings, tokenizer, corpus))
    for step in range(settings.steps):
        with_canvases, without = (
            sum(part.ids.numel() for part in parts) for parts in (steps[step], steps.causal(step))
        )
        assert without < with_canvases <= without + 40 * settings.contexts


def rows_of_steps(recipe: Path, corpus: Path) -> list[int]:
    """Return the number of rows of each step."""
    settings = Recipe.read(recipe)
    tokenizer = checkpoint.read_checkpoint(Path(settings.base)).tokenizer
    settings = replace(
        settings, seed=settings.seed_for(checkpoint.read_checkpoint(Path(settings.base)).fingerprint)
    )
    steps = Steps(settings, tokenizer, Cuts(settings, tokenizer, corpus))
    return [sum(part.ids.numel() for part in steps[step]) for step in range(settings.steps)]


def test_a_run_starts_at_its_base_and_lowers_the_loss(
    recipe: Path, corpus: Path, tmp_path: Path, tiny_model: Path
) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\nrate = 0.003\n", encoding="utf-8")
    trained = run(recipe, corpus, tmp_path, "--steps", "30")
    base = weights_of(tiny_model)
    moved = max(float((trained[key] - base[key]).abs().max()) for key in base)
    assert 0 < moved < 0.5
    losses = [line["loss"] for line in metrics(tmp_path)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    about = checkpoint.read_checkpoint(tmp_path / "trial" / "checkpoint").about
    assert about["step"] == 30
    assert (tmp_path / "trial" / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_frozen_weights_of_a_recipe_do_not_change(
    recipe: Path, corpus: Path, tmp_path: Path, tiny_model: Path
) -> None:
    recipe.write_text(
        recipe.read_text(encoding="utf-8") + '\nfrozen = ["embedding", "layers.0."]\nrounded = 1.0\n',
        encoding="utf-8",
    )
    trained = run(recipe, corpus, tmp_path)
    base = Network.of(checkpoint.read_checkpoint(tiny_model))
    packed = {name: unpack(*pack(weight, bits(name), GROUP)) for name, weight in base.matrices()}
    stayed = {name for name, weight in packed.items() if trained[name].equal(weight)}
    assert stayed == {name for name in packed if name.startswith(("embedding", "layers.0."))}


def test_packing_does_not_change_the_weights_of_a_run_that_ends_rounded(
    recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\nrounded = 0.5\n", encoding="utf-8")
    run(recipe, corpus, tmp_path)
    trained = checkpoint.read_checkpoint(tmp_path / "trial" / "checkpoint")
    state = torch.load(tmp_path / "trial" / "state.pt", weights_only=True)
    kept, grid, scales = state["network"], state["grid"], ship.own_scales(trained)
    assert trained.about["rounded"] == 0.5
    for name, weight in Network.of(trained).matrices():
        seen = unpack(*pack(kept[name], bits(name), GROUP, grid[name]))  # as in the last step
        again = unpack(*pack(weight, bits(name), GROUP, scales[name]))
        assert weight.equal(seen) and again.equal(seen)
        # Training would continue from weights that are not rounded.
        assert not kept[name].equal(weight)


def packed_matrices(folder: Path) -> dict[str, Packed]:
    """Return the packed matrices of a checkpoint."""
    weights = checkpoint.read_checkpoint(folder).weights()
    return {name: weight for name, weight in weights.items() if isinstance(weight, Packed)}


def test_a_run_of_scales_can_be_resumed_and_keeps_the_levels_of_its_base(
    recipe: Path, corpus: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoint.read_checkpoint(tiny_model)
    tokenizer = (tiny_model / "tokenizer.json").read_text(encoding="utf-8")
    save(tmp_path / "base", "tiny", Network.of(base), tokenizer, {}, bits)
    settings = recipe.read_text(encoding="utf-8").replace(str(tiny_model), str(tmp_path / "base"))
    recipe.write_text(f"{settings}\ndecay = 0.0\nscales = true\nrate = 0.01\n", encoding="utf-8")
    whole = run(recipe, corpus, tmp_path / "unbroken")
    run(recipe, corpus, tmp_path / "again", "--steps", "3")
    again = run(recipe, corpus, tmp_path / "again")
    for key, weight in whole.items():
        torch.testing.assert_close(again[key], weight, msg=key)
    trained = tmp_path / "unbroken" / "trial" / "checkpoint"
    arguments = ["ship", str(trained), "--out", str(tmp_path / "shipped")]
    monkeypatch.setattr("sys.argv", arguments)
    ship.main()
    began, ended, shipped = map(packed_matrices, (tmp_path / "base", trained, tmp_path / "shipped"))
    assert began.keys() == ended.keys() == shipped.keys()
    for name, matrix in ended.items():
        assert (matrix.levels() == began[name].levels()).all()
        assert (matrix.scale == shipped[name].scale).all()
        assert (matrix.planes == shipped[name].planes).all()
    moved = [(ended[name].scale != began[name].scale).mean() for name in began]
    assert min(moved) > 0.5
    kept = torch.load(trained.parent / "state.pt", weights_only=True)["network"]
    for key, weight in weights_of(trained).items():
        assert weight.equal(kept[key]), key  # bitwise equal, including the norms
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("scales = true", ""), encoding="utf-8")
    with pytest.raises(SystemExit, match="trained other weights: move it away"):
        run(recipe, corpus, tmp_path / "again")


def test_a_run_of_scales_names_a_matrix_of_its_base_that_is_not_packed(
    recipe: Path, corpus: Path, tmp_path: Path, tiny_model: Path
) -> None:
    unpacked = save_unpacked(tmp_path / "unpacked")
    settings = recipe.read_text(encoding="utf-8").replace(str(tiny_model), str(unpacked))
    recipe.write_text(f"{settings}\nscales = true\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="is not packed as"):
        run(recipe, corpus, tmp_path)


def weights_after(
    recipe: Path, shards: Path, runs: Path, *launcher: str, steps: int = 4
) -> dict[str, torch.Tensor]:
    """Train in a process of its own, and return the weights."""
    command = [
        *launcher,
        "-m",
        "model.training.train",
        str(recipe),
        "--shards",
        str(shards),
        "--runs",
        str(runs),
    ]
    options = ["--device", "cpu", "--steps", str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command, *options], check=True, env=environment, timeout=110)
    return weights_of(runs / "trial" / "checkpoint")


def test_two_processes_train_the_same_weights_as_one(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    """The first half runs in two processes, the rest in one; the loss is computed in parts and chunks, as on GPUs."""
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\ndecay = 0.0\n", encoding="utf-8")
    shards = tmp_path / "shards"
    write(Recipe.read(recipe), TOKENIZER_JSON.parent, shards, 30, corpus=corpus)
    main([str(recipe), "--shards", str(shards), "--runs", str(tmp_path / "one"), "--device", "cpu"])
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    recipe.write_text(recipe.read_text(encoding="utf-8") + "part = 1\nchunk = 64\n", encoding="utf-8")
    half = weights_after(recipe, shards, tmp_path / "two", *launcher, steps=3)
    main([str(recipe), "--shards", str(shards), "--runs", str(tmp_path / "two"), "--device", "cpu"])
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [line["step"] for line in two] == [line["step"] for line in one] == [1, 2, 3, 4, 5, 6]
    for name in ("loss", "next_token", "masked", "norm", "rows"):
        assert [line[name] for line in two] == pytest.approx([line[name] for line in one], rel=1e-4), name
    whole = weights_of(tmp_path / "one" / "trial" / "checkpoint")
    mixed = weights_of(tmp_path / "two" / "trial" / "checkpoint")
    assert not half["layers.0.down.weight"].equal(mixed["layers.0.down.weight"])
    # Weights are stored in bf16, and Adam amplifies the sign of gradients near zero.
    for key, weight in whole.items():
        torch.testing.assert_close(mixed[key], weight, atol=2e-3, rtol=2e-2, msg=key)


def test_two_processes_train_rounded_weights(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\nrounded = 1.0\n", encoding="utf-8")
    shards = tmp_path / "shards"
    write(Recipe.read(recipe), TOKENIZER_JSON.parent, shards, 30, corpus=corpus)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    trained = weights_after(recipe, shards, tmp_path, *launcher, steps=2)
    state = torch.load(tmp_path / "trial" / "state.pt", weights_only=True)
    for name, scale in state["grid"].items():
        assert trained[name].equal(unpack(*pack(state["network"][name], bits(name), GROUP, scale))), name


@pytest.fixture
def one_run(recipe: Path, corpus: Path, tmp_path: Path, tiny_model: Path) -> tuple[Run, tuple[Batch, ...]]:
    """A run before its first step, and the batches of this step."""
    settings = replace(Recipe.read(recipe), part=1, chunk=64)
    run = Run(settings, tmp_path / "run", Accelerator(cpu=True), 0.0, tiny_model)
    tokenizer = run.base.tokenizer
    return run, Steps(settings, tokenizer, Cuts(settings, tokenizer, corpus))[0]


def test_a_gradient_that_is_not_finite_changes_no_weight(one_run: tuple[Run, tuple[Batch, ...]]) -> None:
    run, parts = one_run
    run.take_step(parts)
    before = {key: weight.clone() for key, weight in run.network.state_dict().items()}
    state = {key: value.clone() for key, value in run.optimizers[0].state[run.network.norm.weight].items()}
    sums = run.take_step((replace(parts[0], weight=parts[0].weight * float("inf")), parts[1]))
    assert sums is not None and not bool(sums[-1].isfinite())
    for key, weight in run.network.state_dict().items():
        assert weight.equal(before[key]), key
    for key, value in run.optimizers[0].state[run.network.norm.weight].items():
        assert value.equal(state[key]), key
    run.take_step(parts)
    assert not run.network.norm.weight.equal(before["norm.weight"])


def test_a_grid_fixed_by_gptq_gives_closer_outputs_than_rounding_each_weight(
    one_run: tuple[Run, tuple[Batch, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.training.run.bits", lambda name: 3)
    run, parts = one_run
    run.rounding = Rounding(run.network, lambda name: 3, GROUP)

    def hidden() -> torch.Tensor:
        rows = parts[0].rows
        attend, mask = attention(rows, parts[0].lengths, run.network.shape.group)
        made: torch.Tensor = run.network(parts[0].ids, rows.position, mask, attend=attend).detach()
        return made

    before = hidden()
    run.rounding.fix({})
    with run.rounding.step():
        nearest = (hidden() - before).square().mean()
    run.round(lambda: parts)
    assert run.rounded
    with run.rounding.step():
        assert (hidden() - before).square().mean() < 0.9 * nearest


def test_a_step_never_waits_for_values_of_tensors(one_run: tuple[Run, tuple[Batch, ...]]) -> None:
    """Tensors without values pass through the whole step; code that read a value or used it as a shape would fail."""
    run, parts = one_run
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        unreal = tuple(part.map(fake.from_tensor) for part in parts)
        run.network = Network(run.network.shape)
        run.objective = Objective(run.network, run.dtype, 64)
        run.optimizers = [torch.optim.AdamW(run.network.parameters(), fused=True)]
        sums = run.take_step(unreal)
        assert sums is not None and sums.shape == (6,)
        with pytest.raises(DataDependentOutputException):
            bool(unreal[0].ids.sum() > 0)


def test_a_step_runs_on_the_device_of_its_run(one_run: tuple[Run, tuple[Batch, ...]]) -> None:
    """Batches come from the CPU. A device without memory refuses to compute with a tensor that stayed on the CPU."""
    run, parts = one_run
    run.device = torch.device("meta")
    run.network = Network(run.network.shape).to(run.device)
    run.objective = Objective(run.network, run.dtype, 64, teacher_share=0.5)
    run.plain = [run.objective]
    run.rounding = Rounding(run.network, bits, GROUP)
    run.rounding.fix({})
    run.learning = dict(run.network.named_parameters())
    run.optimizers = []
    sums = run.take_step(parts)
    assert sums is not None and sums.device == run.device
    with pytest.raises(RuntimeError):
        run.objective(parts[0])


def test_a_run_writes_the_shards_of_its_recipe_and_prints_the_next_commands(
    recipe: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\nshards_mb = 0.05\n", encoding="utf-8")
    run(recipe, corpus, tmp_path, "--steps", "2")
    index = tmp_path / "mercury-lsp" / "shards" / "trial" / "index.json"
    cut = index.stat().st_mtime_ns
    out = capsys.readouterr().out
    assert (
        f"model.evaluation.suites.evaluate --suite single-line --model {tmp_path / 'trial' / 'checkpoint'}"
        in out
    )
    assert f"model.compression.ship {tmp_path / 'trial' / 'checkpoint'}" in out
    run(recipe, corpus, tmp_path, "--steps", "3")
    assert index.stat().st_mtime_ns == cut
    assert metrics(tmp_path)[-1]["rows"] == 3 * 2 * 192
    line = metrics(tmp_path)[0]
    assert 0 < line["utilisation"] < 1 and 0 <= line["waiting"] < 1


def test_sigterm_saves_the_run_and_ends_its_workers(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\nworkers = 1\n", encoding="utf-8")
    command = [str(recipe), "--corpus", str(corpus), "--runs", str(tmp_path), "--device", "cpu"]
    begun = [sys.executable, "-m", "model.training.train", *command, "--steps", "100000"]
    with subprocess.Popen(begun, start_new_session=True, stdout=subprocess.PIPE, text=True) as process:
        log = tmp_path / "trial" / "metrics.jsonl"
        while not (log.is_file() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.1)
        # Like a service manager, signal the workers, too.
        os.killpg(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    step = metrics(tmp_path)[-1]["step"]
    assert 1 <= step < 100_000
    assert f"{step} steps" in out
    assert torch.load(tmp_path / "trial" / "state.pt", weights_only=True)["step"] == step
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_run_from_other_weights_trains_on_other_contexts(
    recipe: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def steps(settings: Recipe, *rest: Any) -> Steps:
        seeds.append(settings.seed)
        return Steps(settings, *rest)

    monkeypatch.setattr("model.training.train.Steps", steps)
    for name in ("first", "first", "same"):  # the second run resumes the first
        run(recipe, corpus, tmp_path / name, "--steps", "2")
    settings = recipe.read_text(encoding="utf-8").splitlines()
    base = tmp_path / "first" / "trial" / "checkpoint"
    recipe.write_text("\n".join([f'base = "{base}"', *settings[1:]]), encoding="utf-8")
    run(recipe, corpus, tmp_path / "on", "--steps", "2")
    assert seeds[0] == seeds[1] == seeds[2] != seeds[3]
    with pytest.raises(SystemExit, match="other weights"):
        run(recipe, corpus, tmp_path / "same")


def test_phases_in_steps_cannot_be_limited_by_minutes(
    recipe: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\ncausal = 0.5\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        run(recipe, corpus, tmp_path, "--minutes", "5")
    assert "--steps" in capsys.readouterr().err


def test_the_grid_is_fixed_with_rows_without_canvases(
    one_run: tuple[Run, tuple[Batch, ...]], corpus: Path
) -> None:
    run, parts = one_run
    steps = Steps(run.recipe, run.base.tokenizer, Cuts(run.recipe, run.base.tokenizer, corpus))
    mask = run.base.tokenizer.specials.mask
    assert any(bool((part.ids == mask).any()) for part in parts)
    assert not any(bool((part.ids == mask).any()) for part in islice(unseen_batches(steps), 3))


def test_the_learning_rate_rises_stays_and_falls() -> None:
    recipe = Recipe("r", "base", steps=100, warmup=10, decay=0.5, rate=1.0)
    rates = [recipe.rate_at(step / 100, step) for step in range(101)]
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
    files = sorted((ROOT / "model" / "recipes").glob("*.toml"))
    assert files
    for file in files:
        assert Recipe.read(file).name == file.stem
