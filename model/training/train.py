"""Trains a checkpoint by one recipe file, and resumes where it was stopped.

    python -m model.training.train model/recipes/small-h100.toml --minutes 60
    torchrun --nproc-per-node 8 -m model.training.train model/recipes/small-h100.toml

Owns the run: optimizer, schedule, checkpoints, metrics. Knows neither the objective's inside nor the network's, nor
where data come from. A run lives in the user's cache folder, under its recipe's name; its data are a function of
(seed, base, step): a resumed run sees what an unbroken one would have seen, on however many processes, which are
Accelerate's to connect, and one that starts from another's weights does not read again what these have seen. One step
of the loop never waits for the device but when metrics are due.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs  # type: ignore[import-untyped]
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.tokenizer import Tokenizer
from mercury_lsp.paths import cache_folder
from model.compression.group_scales import GroupScales
from model.compression.rounding import Rounding, bits
from model.data.loader import groups_for, loader
from model.data.step_data import Steps
from model.training.hardware import Work, ceiling, fastest_dtype, flops, keep_memory, return_memory, settle
from model.training.heldout_middles import batches, costs, report
from model.training.lanes import Lanes
from model.training.layout import Batch
from model.training.objective import Objective
from model.training.optimizers import advance, optimizers
from model.training.plot import plot
from model.training.recipe import Recipe
from model.training.save import GROUP, save

METRICS = "metrics.jsonl"
CURVE = "curve.jsonl"
SELF = "self"  # as a recipe's teacher: the causal rows teach the canvases
TRIM = 32  # steps on a processor after which what fragments of the heap is given back


def find(model: str) -> Path:
    """Folder of a checkpoint by a recipe's word for it; exits with a sentence where there is none."""
    try:
        return cache_folder() / "base" if model == "base" else checkpoint.find_model(model)
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))


class Run:
    """One run: a network under training, its optimizer, and how far it has come."""

    def __init__(
        self, recipe: Recipe, folder: Path, accelerator: Accelerator, minutes: float, base: Path
    ) -> None:
        self.recipe, self.folder, self.accelerator, self.minutes = recipe, folder, accelerator, minutes
        self.device = accelerator.device
        folder.mkdir(parents=True, exist_ok=True)
        self.base = checkpoint.read_checkpoint(base)
        self.tokenizer_json = (base / Tokenizer.FILE).read_text(encoding="utf-8")
        self.network = Network.of(self.base).train().to(self.device)
        for name, weight in self.network.named_parameters():
            weight.requires_grad_(not name.startswith(recipe.frozen))
        self.dtype = fastest_dtype(self.device) if recipe.bf16 else torch.float32
        teacher = None
        if recipe.taught and recipe.teacher != SELF:
            teacher = Network.of(checkpoint.read_checkpoint(find(recipe.teacher)), self.dtype).to(self.device)

        def objective(network: Network) -> Objective:
            taught, packed = recipe.taught, recipe.packed
            return Objective(network, self.dtype, recipe.chunk, recipe.compile, taught, teacher, packed)

        alone = self.device.type == "cpu" and accelerator.num_processes == 1
        self.lanes = Lanes(self.network, recipe.lanes, objective) if recipe.lanes and alone else None
        self.plain = [objective(self.network)] if self.lanes is None else self.lanes.objectives
        self.objective = accelerator.prepare_model(self.plain[0])
        self.rounding = Rounding(self.network, bits, GROUP)
        self.scales: GroupScales | None = None
        self.learning = {
            name: weight for name, weight in self.network.named_parameters() if weight.requires_grad
        }
        if recipe.scales:
            try:
                self.scales = GroupScales(self.network, self.base.weights(), GROUP)
            except ValueError as error:
                sys.exit(f"The recipe trains scales alone, and its base's {error}.")
            self.learning |= self.scales.factors
        self.optimizers = optimizers(self.learning, recipe)
        self.stop = threading.Event()
        self.step = 0
        self.spent = 0.0  # seconds of training, over all sittings, as last agreed by all processes
        self.rows = self.masked = 0
        self._resume()

    @property
    def progress(self) -> float:
        """Share of the run that is behind us, by steps or by time, whichever is further."""
        return max(self.step / self.recipe.steps, self.spent / 60 / self.minutes if self.minutes else 0.0)

    def _resume(self) -> None:
        file = self.folder / "state.pt"
        if not file.is_file():
            return
        state = torch.load(file, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        for name, factor in self.scales.factors.items() if self.scales else ():
            factor.data.copy_(state["scales"][name])
        for optimizer, found in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(found)
        self.step, self.spent = state["step"], state["spent"]
        self.rows, self.masked = state["rows"], state["masked"]
        if self.accelerator.is_main_process:
            # They may be ahead of the state: what was lost is measured again.
            for log in (self.folder / METRICS, self.folder / CURVE):
                lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
                kept = (line for line in lines if json.loads(line)["step"] <= self.step)
                log.write_text("".join(kept), encoding="utf-8")
            print(f"resumed at step {self.step} of {self.recipe.steps}", file=sys.stderr)

    def save(self) -> None:
        """Write the state to resume from and a checkpoint to try out, each at once whole. One process does."""
        if not self.accelerator.is_main_process:
            return
        counts = {"step": self.step, "spent": self.spent, "rows": self.rows, "masked": self.masked}
        found = [optimizer.state_dict() for optimizer in self.optimizers]
        state = {"network": self.network.state_dict(), "optimizers": found, **counts}
        if self.scales is not None:
            state["scales"] = {name: factor.data for name, factor in self.scales.factors.items()}
        torch.save(state, self.folder / "state.part")
        os.replace(self.folder / "state.part", self.folder / "state.pt")
        rounded = self.recipe.rounded if self.rounded else float(self.recipe.scales)
        # `model.compression.ship` goes by it.
        about = {**self.base.about, "recipe": self.recipe.name, "rounded": rounded, **counts}
        if curve := self.curve:
            about["curve"] = curve
        save(
            self.folder / "checkpoint",
            self.recipe.name,
            self.network,
            self.tokenizer_json,
            about,
            self.base.packed_bits().__getitem__ if self.scales else bits if self.rounded else None,
            self.scales.scales() if self.scales else {},
        )
        plot(self.folder)

    def point(self, held: Sequence[Batch]) -> None:
        """Measure the held-out middles, and write a point of the learning curve."""
        with self.rounding.step() if self.rounded else nullcontext():
            found = costs(self.network, self.base.tokenizer, held, self.dtype)
        point = {"step": self.step, "rows": self.rows, "minutes": self.spent / 60, **report(found)}
        with (self.folder / CURVE).open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(point) + "\n")

    @property
    def curve(self) -> list[list[float]]:
        """The learning curve so far: rows, and nats a token of held-out middles."""
        file = self.folder / CURVE
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return [[point["rows"], point["nats"]] for point in map(json.loads, lines)]

    @property
    def rounded(self) -> bool:
        """Whether this is the recipe's last share of the run, in which the weights count as they will be shipped."""
        return self.recipe.rounded > 0 and self.progress > 1 - self.recipe.rounded

    def take(self, parts: tuple[Batch, ...]) -> torch.Tensor | None:
        """One step of the optimizer; returns sums (6,): those of `Loss`, the loss and the gradient's norm.

        The mean over targets is that of all processes' parts together, so it does not matter how they are shared.
        None if a run on lanes was stopped between two passes: then nothing was changed.
        """
        ranks = self.accelerator.num_processes
        worth = torch.full((), sum(part.worth for part in parts), device=self.device)
        worth = self.accelerator.reduce(worth, "mean")  # as gradients are, over processes
        sums = torch.zeros(5, device=self.device)
        causal = self.recipe.is_causal(self.step)
        for objective in self.plain:
            objective.taught = 0.0 if causal and self.recipe.teacher == SELF else self.recipe.taught
        with self.rounding.step() if self.rounded else nullcontext():
            if self.lanes is not None:
                added = self.lanes.run(parts, worth, self.stop.is_set)
                if added is None:
                    return None
                sums = added
            for number, part in enumerate(() if self.lanes is not None else parts, 1):
                last = number == len(parts)
                with nullcontext() if last else self.accelerator.no_sync(self.objective):
                    loss = self.objective(part.to(self.device), worth)
                    loss.total.backward()
                sums += torch.cat((loss.sums, loss.total.detach()[None] / ranks))
        if self.scales is not None:
            self.scales.take_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), self.recipe.clip)
        advance(self.optimizers, norm)
        if self.scales is not None:
            self.scales.write()
        return torch.cat((sums, norm.detach()[None] / ranks))

    def train(self, data: Iterator[tuple[Batch, ...]]) -> Iterator[dict[str, float]]:
        """Take the remaining steps; yields the metrics of every so many steps, as means over them."""
        recipe, device = self.recipe, self.device
        work = Work(device)
        best = ceiling(device, self.dtype, 1.0 if device.type == "cuda" else 0.2)
        sums, steps, operations, waited = torch.zeros(6, device=device), 0, 0.0, 0.0
        before = self.rows
        began = asked = time.monotonic()
        for parts in data:
            waited += (time.monotonic() - asked) * work.done()
            rate = recipe.rate_at(self.progress, self.step)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            taken = self.take(parts)
            if taken is None:
                return
            sums += taken
            work.mark()
            rows = sum(part.ids.numel() for part in parts)
            pairs, targets = sum(part.pairs for part in parts), sum(part.targets for part in parts)
            operations += flops(self.network.shape, rows, pairs / rows, targets)
            self.step += 1
            steps += 1
            self.rows += rows * self.accelerator.num_processes
            if device.type == "cpu" and (self.lanes is not None or self.step % TRIM == 0):
                return_memory()
            if self.step % recipe.every and self.step < recipe.steps:
                asked = time.monotonic()
                continue
            settle(device)
            main, sitting = self.accelerator.is_main_process, time.monotonic() - began
            shared = torch.tensor([self.stop.is_set(), main * (self.spent + sitting)], device=device)
            told = self.accelerator.reduce(torch.cat((sums, shared)), "sum").tolist()
            next_nats, next_count, nats, masked, loss, norm, stop, spent = told
            took = time.monotonic() - began
            self.spent = spent
            self.masked += int(masked)
            if stop:
                self.stop.set()
            yield {
                "step": self.step,
                "minutes": self.spent / 60,
                "loss": loss / steps,
                "next_token": next_nats / max(1, next_count),
                "masked": nats / max(1, masked),
                "rate": rate,
                "norm": norm / steps,
                "rows": self.rows,
                "rows_per_s": (self.rows - before) / took,
                "masked_per_s": masked / took,
                "utilisation": operations / took / best,  # model-FLOPs of this process, of its device's
                "waiting": waited / took,  # share of the time in which no batch was ready
            }
            if self.progress >= 1 or self.stop.is_set():
                return
            sums, steps, operations, waited = torch.zeros(6, device=device), 0, 0.0, 0.0
            before = self.rows
            began = asked = time.monotonic()


def main(argv: list[str] | None = None) -> None:
    """The command line."""
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
    recipe = Recipe.read(arguments.recipe)
    changed = {"steps": arguments.steps, "workers": arguments.workers}
    recipe = replace(recipe, **{name: value for name, value in changed.items() if value is not None})
    # Side by side, passes of different lengths would leave a kept heap in pieces, which came to 11 GB.
    if not recipe.lanes:
        keep_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("high")
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    patience = InitProcessGroupKwargs(
        timeout=timedelta(days=1)
    )  # of those that wait for the first to cut shards
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[patience])
    base = find(recipe.base)
    run = Run(recipe, arguments.runs / recipe.name, accelerator, arguments.minutes, base)
    recipe = replace(recipe, seed=recipe.seed_for(run.base.fingerprint))
    with accelerator.main_process_first():
        groups = groups_for(recipe, base, run.base.tokenizer, arguments.shards, arguments.corpus)
    steps = Steps(recipe, run.base.tokenizer, groups, accelerator.process_index, accelerator.num_processes)
    for wanted in (signal.SIGTERM, signal.SIGINT):  # finish the step, save, end
        signal.signal(wanted, lambda *_: run.stop.set())
    columns = (BarColumn(10), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    saved = time.monotonic()
    quiet = not accelerator.is_main_process
    held = []
    if recipe.curve_rows and not quiet:
        held = batches(run.base.tokenizer, corpus=arguments.corpus)
        if not run.curve:
            run.point(held)
    log = Path(os.devnull) if quiet else run.folder / METRICS
    with Progress(*columns, disable=quiet) as bar, log.open("a", encoding="utf-8") as metrics:
        task, rows = bar.add_task("", total=recipe.steps, completed=run.step), float(run.rows)
        for measured in run.train(loader(steps, run.step, accelerator.device)):
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
    if not quiet:
        trained = run.folder / "checkpoint"
        print(f"{trained}: {run.step} steps, {run.rows} rows, {run.masked} masked targets")
        print(
            f"to judge it:  python -m model.evaluation.suites.evaluate --suite single-line --model {trained}"
        )
        print(f"to ship it:   python -m model.compression.ship {trained}")
    accelerator.wait_for_everyone()  # one that leaves while another still saves takes the connection with it
    accelerator.end_training()


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
