"""Trains a checkpoint by one recipe file, and resumes interrupted runs.

    python -m model.training.train model/recipes/small-h100.toml --minutes 60
    torchrun --nproc-per-node 8 -m model.training.train model/recipes/small-h100.toml

The files of a run (`model.training.run`) are in the user's cache folder, under the recipe's name. The data are a
function of (seed, base, step): a resumed run sees the same data as an uninterrupted run, and a run that starts from the
weights of another run draws other data than that run did.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs  # type: ignore[import-untyped]
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mercury_lsp.paths import cache_folder
from model.data.loader import groups_for, loader
from model.data.step_data import Steps
from model.training.batch import Batch
from model.training.hardware import keep_memory
from model.training.heldout_middles import batches
from model.training.recipe import Recipe
from model.training.run import METRICS, Run, find_checkpoint

# GPTQ needs many more rows than a layer has inputs; the widest layer has 1,536.
GRID_ROWS = 30_000


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse(argv)
    recipe: Recipe = arguments.recipe
    # Parallel passes of different lengths would fragment a kept heap, up to 11 GB.
    if not recipe.lanes:
        keep_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("high")
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    # The other processes wait for the first to cut shards.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[patience])
    base = find_checkpoint(recipe.base)
    run = Run(recipe, arguments.runs / recipe.name, accelerator, arguments.minutes, base)
    recipe = replace(recipe, seed=recipe.seed_for(run.base.fingerprint))
    with accelerator.main_process_first():
        groups = groups_for(recipe, base, run.base.tokenizer, arguments.shards, arguments.corpus)
    steps = Steps(recipe, run.base.tokenizer, groups, accelerator.process_index, accelerator.num_processes)
    # On these signals the run finishes its step, saves and ends.
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: run.stop.set())
    train(run, steps, arguments.corpus)
    if accelerator.is_main_process:
        trained = run.folder / "checkpoint"
        print(f"{trained}: {run.step} steps, {run.rows} rows, {run.masked} masked targets")
        print(
            f"to measure it:  python -m model.evaluation.suites.evaluate --suite single-line --model {trained}"
        )
        print(f"to ship it:     python -m model.compression.ship {trained}")
    # A process that exits while another still saves would close the connection.
    accelerator.wait_for_everyone()
    accelerator.end_training()


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line; ``recipe`` is the recipe file's content with the options applied."""
    parser = argparse.ArgumentParser(
        prog="python -m model.training.train", description="Train a model by a recipe."
    )
    parser.add_argument("recipe", type=Path, help="a TOML file, as in model/recipes")
    parser.add_argument(
        "--minutes",
        type=float,
        default=0.0,
        help="end after this training time, unless the steps end earlier",
    )
    parser.add_argument("--steps", type=int, help="(default: the recipe's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(default: cuda if available)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes that build batches (default: the recipe's)")
    parser.add_argument(
        "--runs", type=Path, default=cache_folder() / "runs", help="folder of the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--shards", type=Path, help="folder of model.data.shards to stream, instead of cutting"
    )
    parser.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    arguments = parser.parse_args(argv)
    changed = {"steps": arguments.steps, "workers": arguments.workers}
    recipe = Recipe.read(arguments.recipe)
    recipe = replace(recipe, **{name: value for name, value in changed.items() if value is not None})
    if arguments.minutes and 0 < recipe.causal < 1:
        parser.error("the phases of this recipe are counted in steps: end it by --steps")
    arguments.recipe = recipe
    return arguments


def train(run: Run, steps: Steps, corpus: Path | None) -> None:
    """Take a run's remaining steps and write its metrics and learning curve; save it regularly and at the end."""
    recipe, main = run.recipe, run.accelerator.is_main_process
    held = batches(run.base.tokenizer, corpus=corpus) if recipe.curve_rows and main else []
    if held and not run.curve:
        run.measure_curve(held)
    saved = time.monotonic()
    columns = (BarColumn(10), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    log = run.folder / METRICS if main else Path(os.devnull)
    with Progress(*columns, disable=not main) as bar, log.open("a", encoding="utf-8") as metrics:
        task, rows = bar.add_task("", total=recipe.steps, completed=run.step), float(run.rows)
        for measured in run.train(loader(steps, run.step, run.device), lambda: unseen_batches(steps)):
            metrics.write(json.dumps(measured) + "\n")
            metrics.flush()
            budget = measured["rows"] / run.step * recipe.steps
            bar.update(task, completed=run.step, description=describe(measured, budget))
            if held and measured["rows"] // recipe.curve_rows > rows // recipe.curve_rows:
                run.measure_curve(held)
            rows = measured["rows"]
            if time.monotonic() - saved > recipe.save_minutes * 60:
                run.save()
                saved = time.monotonic()
    run.save()


def unseen_batches(steps: Steps) -> Iterator[Batch]:
    """Yield batches with at least `GRID_ROWS` rows, from contexts after those of the run's last step.

    They have no canvases, because the causal rows alone decide which text is served.
    """
    rows = 0
    for step in count(len(steps)):
        for part in steps.causal(step):
            yield part
            rows += part.ids.numel()
        if rows >= GRID_ROWS:
            return


def describe(measured: dict[str, float], budget: float) -> str:
    """Return the text of the progress bar: nats per token, rows, speed, utilization of the device, wait for data."""
    return (
        f"next {measured['next_token']:.2f} masked {measured['masked']:.2f} | "
        f"{measured['rows'] / 1e6:.1f}/{budget / 1e6:.0f}M rows | {measured['rows_per_s']:.0f} rows/s, "
        f"{measured['masked_per_s']:.0f} masked | {measured['utilisation']:.0%} used, "
        f"{measured['waiting']:.0%} waiting"
    )


if __name__ == "__main__":
    main()
