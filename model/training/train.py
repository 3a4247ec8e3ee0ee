"""Trains a checkpoint by one recipe file, and resumes where it was stopped.

    python -m model.training.train model/recipes/small-h100.toml --minutes 60
    torchrun --nproc-per-node 8 -m model.training.train model/recipes/small-h100.toml

Owns the command line. A run (`model.training.run`) lives in the user's cache folder, under its recipe's name; its data
are a function of (seed, base, step): a resumed run sees what an unbroken one would have seen, and one that starts from
another's weights does not read again what these have seen.
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
from model.training.run import METRICS, Run, find

GRID_ROWS = 30_000  # whose inputs tell how to fix the grid: the widest layer has 1,536 of them


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    arguments = parse(argv)
    recipe: Recipe = arguments.recipe
    # Beside one another, passes of different lengths would fragment a heap that is kept, up to 11 GB.
    if not recipe.lanes:
        keep_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("high")
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    # The other processes wait while the first cuts shards.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[patience])
    base = find(recipe.base)
    run = Run(recipe, arguments.runs / recipe.name, accelerator, arguments.minutes, base)
    recipe = replace(recipe, seed=recipe.seed_for(run.base.fingerprint))
    with accelerator.main_process_first():
        groups = groups_for(recipe, base, run.base.tokenizer, arguments.shards, arguments.corpus)
    steps = Steps(recipe, run.base.tokenizer, groups, accelerator.process_index, accelerator.num_processes)
    # A signal to end lets the step finish and saves.
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: run.stop.set())
    train(run, steps, arguments.corpus)
    if accelerator.is_main_process:
        trained = run.folder / "checkpoint"
        print(f"{trained}: {run.step} steps, {run.rows} rows, {run.masked} masked targets")
        print(
            f"to judge it:  python -m model.evaluation.suites.evaluate --suite single-line --model {trained}"
        )
        print(f"to ship it:   python -m model.compression.ship {trained}")
    # A process that leaves while another one saves takes the connection with it.
    accelerator.wait_for_everyone()
    accelerator.end_training()


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line's arguments, with the recipe as read from its file and changed by them."""
    parser = argparse.ArgumentParser(
        prog="python -m model.training.train", description="Train a model by a recipe."
    )
    parser.add_argument("recipe", type=Path, help="a TOML file, as in model/recipes")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="end by training time, if it comes before the steps"
    )
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(default: cuda where there is one)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, help="that make batches, instead of the recipe's")
    parser.add_argument(
        "--runs", type=Path, default=cache_folder() / "runs", help="where runs live (default: %(default)s)"
    )
    parser.add_argument(
        "--shards", type=Path, help="folder of model.data.shards to stream, instead of cutting"
    )
    parser.add_argument("--corpus", type=Path, help="instead of the corpus in the cache folder")
    arguments = parser.parse_args(argv)
    changed = {"steps": arguments.steps, "workers": arguments.workers}
    recipe = Recipe.read(arguments.recipe)
    recipe = replace(recipe, **{name: value for name, value in changed.items() if value is not None})
    if arguments.minutes and 0 < recipe.causal < 1:
        parser.error("the phases of this recipe are counted in steps: end it by --steps")
    arguments.recipe = recipe
    return arguments


def train(run: Run, steps: Steps, corpus: Path | None) -> None:
    """Take a run's remaining steps, write its metrics and learning curve, and save it now and then and at the end."""
    recipe, main = run.recipe, run.accelerator.is_main_process
    held = batches(run.base.tokenizer, corpus=corpus) if recipe.curve_rows and main else []
    if held and not run.curve:
        run.point(held)
    saved = time.monotonic()
    columns = (BarColumn(10), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    log = run.folder / METRICS if main else Path(os.devnull)
    with Progress(*columns, disable=not main) as bar, log.open("a", encoding="utf-8") as metrics:
        task, rows = bar.add_task("", total=recipe.steps, completed=run.step), float(run.rows)
        for measured in run.train(loader(steps, run.step, run.device), lambda: unseen(steps)):
            metrics.write(json.dumps(measured) + "\n")
            metrics.flush()
            budget = measured["rows"] / run.step * recipe.steps
            bar.update(task, completed=run.step, description=described(measured, budget))
            if held and measured["rows"] // recipe.curve_rows > rows // recipe.curve_rows:
                run.point(held)
            rows = measured["rows"]
            if time.monotonic() - saved > recipe.save_minutes * 60:
                run.save()
                saved = time.monotonic()
    run.save()


def unseen(steps: Steps) -> Iterator[Batch]:
    """Batches of at least `GRID_ROWS` rows, after those of the run's last step, without canvases: what is served is
    decided by the causal rows alone."""
    rows = 0
    for step in count(len(steps)):
        for part in steps.causal(step):
            yield part
            rows += part.ids.numel()
        if rows >= GRID_ROWS:
            return


def described(measured: dict[str, float], budget: float) -> str:
    """The words beside the progress bar: nats a token, rows so far, speed, and what the device and the data are at."""
    return (
        f"next {measured['next_token']:.2f} masked {measured['masked']:.2f} | "
        f"{measured['rows'] / 1e6:.1f}/{budget / 1e6:.0f}M rows | {measured['rows_per_s']:.0f} rows/s, "
        f"{measured['masked_per_s']:.0f} masked | {measured['utilisation']:.0%} used, "
        f"{measured['waiting']:.0%} waiting"
    )


if __name__ == "__main__":
    main()
