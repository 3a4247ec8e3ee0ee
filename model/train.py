"""``python -m model.train RECIPE``: trains a checkpoint by one recipe file, and takes up where it was stopped.

Owns the run: data order, optimiser, schedule, checkpoints, metrics, plot. Knows neither the objective's inside nor the
network's. A run lives in the user's cache folder, under its recipe's name; its data are a function of (seed, step),
so a resumed run sees what an unbroken one would have seen.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch.utils.data import DataLoader, Dataset

from mercury_lsp.engine import checkpoint
from mercury_lsp.engine.canvas import Tokenizer
from mercury_lsp.engine.network import Network
from model.corpus import iter_documents
from model.folders import cache
from model.hardware import keep_memory
from model.neighbours import snippet
from model.objective import Batch, Weights, assemble, collate, loss_of
from model.spans import KINDS, Budget, cut, node_finder


@dataclass(frozen=True, slots=True)
class Recipe:
    """A run's settings: the fields of a recipe file. Raises ``TypeError`` for a field that is not here."""

    name: str
    base: str  # a checkpoint's folder or shipped name; "base" is what model.base makes
    steps: int
    rows: int = 512  # of one context
    contexts: int = 4  # of one step
    holes: int = 4  # of one context, at most
    prefix_tokens: tuple[int, int] = (48, 224)  # range of a context's budgets, drawn uniformly
    following_tokens: tuple[int, int] = (0, 96)
    path_share: float = 0.7  # of contexts with a path header
    related_share: float = 0.25  # of contexts with a snippet of a neighbouring file
    related_tokens: tuple[int, int] = (24, 96)
    kinds: dict[str, float] = field(default_factory=lambda: dict(KINDS))  # of holes
    rate: float = 3e-4
    warmup: int = 40  # steps
    decay: float = 0.4  # last share of the run, over which the rate falls to a twentieth
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    bf16: bool = True
    compile: bool = False
    workers: int = 0
    save_minutes: float = 8.0
    languages: dict[str, float] = field(default_factory=lambda: {"python": 1.0})
    weights: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Recipe:
        """Parse a TOML recipe; its name defaults to the file's."""
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**{"name": file.stem, **values, **lists})


class Contexts(Dataset[Batch]):
    """The batch of each step, made from (seed, step) alone."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, corpus: Path | None = None) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.files: dict[str, list[tuple[str, str, str]]] = {language: [] for language in recipe.languages}
        self.packages: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for source in iter_documents("train", list(recipe.languages), corpus):
            self.files[source.language].append((source.package, source.path, source.text))
            self.packages[source.package].append((source.path, source.text))
        self.files = {language: files for language, files in self.files.items() if files}
        if not self.files:
            sys.exit("The corpus has no file of the recipe's languages: run 'python -m model.corpus' first.")
        self.shares = [recipe.languages[language] for language in self.files]

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        recipe = self.recipe
        random = Random(f"{recipe.seed}/{step}")
        generator = torch.Generator().manual_seed(random.getrandbits(62))
        weights = Weights(**recipe.weights)
        contexts = []
        while len(contexts) < recipe.contexts:
            language = random.choices(list(self.files), self.shares)[0]
            package, path, text = random.choice(self.files[language])
            budget = Budget(random.randint(*recipe.prefix_tokens), random.randint(*recipe.following_tokens))
            header = path if random.random() < recipe.path_share else ""
            count, nodes = self.tokenizer.count, node_finder(path, text)
            related = None
            if random.random() < recipe.related_share:
                tokens = random.randint(*recipe.related_tokens)
                related = snippet(path, text, self.packages[package], count, tokens, random)
            shown = () if related is None else (related,)
            group = cut(header, text, count, budget, recipe.holes, random, nodes, recipe.kinds, shown)
            made = assemble(group, self.tokenizer, recipe.rows, weights, generator) if group else None
            if made is not None:
                contexts.append(made)
        return collate(contexts, recipe.rows, self.tokenizer.specials.eot)


def rate_at(progress: float, step: int, recipe: Recipe) -> float:
    """Learning rate: linear warm-up, constant, linear decay to a twentieth over the last share of the run."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    cool = min(1.0, max(0.0, (1 - progress) / recipe.decay)) if recipe.decay else 1.0
    return recipe.rate * warm * max(0.05, cool)


class Run:
    """One run: a network under training, its optimiser, and how far it has come."""

    def __init__(self, recipe: Recipe, folder: Path, device: torch.device, minutes: float) -> None:
        self.recipe, self.folder, self.device, self.minutes = recipe, folder, device, minutes
        folder.mkdir(parents=True, exist_ok=True)
        base = cache() / "base" if recipe.base == "base" else checkpoint.find(recipe.base)
        start = checkpoint.load(base)
        self.base, self.tokenizer = start, start.tokenizer
        self.tokenizer_json = (start.folder / Tokenizer.FILE).read_text(encoding="utf-8")
        self.network: Network = start.network.requires_grad_(True).train().to(device)
        decayed = [weight for _, weight in self.network.matrices()]
        plain = [weight for weight in self.network.parameters() if weight.ndim != 2]
        groups = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.rate, betas=recipe.betas, fused=True)
        self.step = 0
        self.spent = 0.0  # seconds of training, over all sittings
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
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.spent = state["step"], state["spent"]
        self.rows, self.masked = state["rows"], state["masked"]
        log = self.folder / "metrics.jsonl"  # may be ahead of the state: what was lost is measured again
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
        log.write_text(
            "".join(line for line in lines if json.loads(line)["step"] <= self.step), encoding="utf-8"
        )
        print(f"resumed at step {self.step} of {self.recipe.steps}", file=sys.stderr)

    def save(self) -> None:
        """Write the state to resume from and a checkpoint to try out, each at once whole."""
        counts = {"step": self.step, "spent": self.spent, "rows": self.rows, "masked": self.masked}
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), **counts}
        torch.save(state, self.folder / "state.part")
        os.replace(self.folder / "state.part", self.folder / "state.pt")
        about = {**self.base.about, "recipe": self.recipe.name, **counts}
        checkpoint.save(
            self.folder / "checkpoint", self.recipe.name, self.network, self.tokenizer_json, about
        )
        plot(self.folder)

    def train(self, data: Iterator[Batch]) -> Iterator[dict[str, float]]:
        """Take the remaining steps; yields each step's metrics."""
        dtype = torch.bfloat16 if self.recipe.bf16 else torch.float32
        if self.recipe.compile:
            self.network.compile()
        for batch in data:
            began = time.monotonic()
            rate = rate_at(self.progress, self.step, self.recipe)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            loss = loss_of(self.network, batch.to(self.device), dtype)
            loss.total.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
            if math.isfinite(float(norm)):
                self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            took = time.monotonic() - began
            self.step += 1
            self.spent += took
            self.rows += batch.ids.numel()
            self.masked += loss.masked_targets
            yield {
                "step": self.step,
                "minutes": self.spent / 60,
                "loss": float(loss.total.detach()),
                "next_token": float(loss.next_token),
                "masked": float(loss.masked),
                "rate": rate,
                "norm": float(norm),
                "rows_per_s": batch.ids.numel() / took,
                "masked_per_s": loss.masked_targets / took,
            }
            if self.progress >= 1:
                return


def plot(folder: Path) -> None:
    """Draw the loss curves of a run's metrics into ``loss.png``, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="nats a token, mean of 50 steps")
    for name in ("next_token", "masked"):
        values = torch.tensor([line[name] for line in lines])
        wide = min(50, len(values))
        if wide:
            axes.plot(
                [line["step"] for line in lines][wide - 1 :], values.unfold(0, wide, 1).mean(-1), label=name
            )
    axes.legend()
    figure.savefig(folder / "loss.png", dpi=110)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description="Train a model by a recipe.")
    parser.add_argument("recipe", type=Path, help="a TOML file, as in model/recipes")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="end by training time, if it comes before the steps"
    )
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--runs", type=Path, default=cache() / "runs", help="where runs live (default: %(default)s)"
    )
    parser.add_argument("--corpus", type=Path, help="instead of the corpus in the cache folder")
    arguments = parser.parse_args(argv)
    recipe = Recipe.read(arguments.recipe)
    if arguments.steps:
        recipe = replace(recipe, steps=arguments.steps)
    keep_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run = Run(recipe, arguments.runs / recipe.name, torch.device(arguments.device), arguments.minutes)
    contexts = Contexts(recipe, run.tokenizer, arguments.corpus)
    left = range(run.step, recipe.steps)
    data = DataLoader(contexts, batch_size=None, sampler=left, num_workers=recipe.workers)
    stop = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):  # finish the step, save, end
        signal.signal(wanted, lambda *_: stop.set())
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    saved = time.monotonic()
    with (
        Progress(*columns) as bar,
        (run.folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics,
    ):
        task = bar.add_task("", total=recipe.steps, completed=run.step)
        for measured in run.train(iter(data)):
            metrics.write(json.dumps(measured) + "\n")
            metrics.flush()
            losses = f"next token {measured['next_token']:.2f}, masked {measured['masked']:.2f}"
            bar.update(task, completed=run.step, description=f"{losses}, {measured['rows_per_s']:.0f} rows/s")
            if stop.is_set():
                break
            if time.monotonic() - saved > recipe.save_minutes * 60:
                run.save()
                saved = time.monotonic()
    run.save()
    print(f"{run.folder / 'checkpoint'}: {run.step} steps, {run.rows} rows, {run.masked} masked targets")


if __name__ == "__main__":
    main()
