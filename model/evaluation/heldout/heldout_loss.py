"""Compares the loss of models on held-out packages, in nats per token.

The contexts, the noise and the loss are those of training, so the figures are comparable with a run's metrics, except
that no model was trained on these packages. The loss of masked tokens depends on the recipe's noise: compare only
figures of one command.

``--middles`` measures only the autoregressive loss of the middles of held-out holes and their stop tokens, healed as in
serving, at the same holes for all models (see `heldout_middles`). The learning curve of a run shows the same figure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from model import RECIPES
from model.data.corpus import CorpusError
from model.data.step_data import Cuts, Steps
from model.evaluation import tables
from model.evaluation.bootstrap import interval, ratio
from model.training.batch import Batch
from model.training.heldout_middles import CONTEXTS, HoleLoss, batches, hole_losses, report
from model.training.objective import loss_of
from model.training.recipe import Recipe

RECIPE = RECIPES / "small-cpu.toml"
STEPS = 24
MIDDLES = ("model", "nats a token", "a character", "less the first")
HEADINGS = ("model", "next token", "less the first", "masked token", "less the first")

Sums = tuple[tuple[float, float], tuple[float, float]]
"""The nats and the count of next tokens, and those of masked tokens."""


def measure(network: Network, batches: Iterable[Batch]) -> list[Sums]:
    """Return the sums of each batch."""
    with torch.no_grad():
        sums = [loss_of(network, batch).sums.tolist() for batch in batches]
    return [((next_, count), (masked, asked)) for next_, count, masked, asked in sums]


def figures(own: Sequence[Sums], first: Sequence[Sums]) -> dict[str, dict[str, Any]]:
    """Return the nats per token, and the paired difference to the first model with its interval over batches."""
    made: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(("next_token", "masked")):
        pairs = [(a[index][0] - b[index][0], a[index][1]) for a, b in zip(own, first, strict=True)]
        made[name] = {
            "nats": round(ratio([sums[index] for sums in own]), 4),
            "tokens": int(sum(sums[index][1] for sums in own)),
            "difference": round(ratio(pairs), 4),
            "interval": interval(pairs, ratio),
        }
    return made


def row(name: str, made: dict[str, dict[str, Any]], first: bool) -> list[str]:
    """Return a model's row of the table."""
    cells = [name]
    for found in made.values():
        low, high = found["interval"]
        gain = tables.NOTHING if first else f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
        cells += [f"{found['nats']:.3f}", gain]
    return cells


def _middles(given: argparse.Namespace) -> int:
    """Run the command with ``--middles``; return the exit status."""
    made: dict[str, dict[str, Any]] = {}
    first: list[HoleLoss] | None = None
    try:
        loaded = {model: checkpoint.read_checkpoint(checkpoint.find_model(model)) for model in given.models}
        tokenizer = loaded[given.models[0]].tokenizer
        held = batches(tokenizer, given.contexts, given.corpus)
        for model, found in loaded.items():
            shown = track(held, model, console=Console(stderr=True), transient=True)
            own = hole_losses(Network.of(found), tokenizer, shown)
            made[model] = report(own, first)
            first = first or own
    except (checkpoint.CheckpointError, CorpusError) as error:
        sys.exit(str(error))
    if given.json:
        print(json.dumps({"models": made}))
        return 0
    rows = []
    for model, figure in made.items():
        (low, high), gain = figure["interval"], tables.NOTHING
        if "difference" in figure:
            less, more = figure["difference_interval"]
            gain = f"{figure['difference']:+.4f} ({less:+.4f} to {more:+.4f})"
        nats = f"{figure['nats']:.4f} ({low:.3f} to {high:.3f})"
        rows.append([model, nats, f"{figure['nats_per_character']:.4f}", gain])
    title = f"Held-out middles: {figure['holes']} holes, {figure['tokens']} tokens"
    width = None if sys.stdout.isatty() else tables.WIDE
    Console(width=width).print(tables.table(title, MIDDLES, rows))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model.evaluation.heldout.heldout_loss",
        description="Compare the loss per token of models on held-out packages.",
    )
    parser.add_argument("models", nargs="+", help="shipped models' names or folders")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches (default: %(default)s)")
    parser.add_argument(
        "--recipe", type=Path, default=RECIPE, help="recipe of the contexts (default: %(default)s)"
    )
    parser.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    parser.add_argument(
        "--middles", action="store_true", help="only the middles of held-out holes, as in a learning curve"
    )
    parser.add_argument(
        "--contexts", type=int, default=0, help=f"number of contexts of --middles (default: {CONTEXTS})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    given = parser.parse_args(arguments)
    if given.middles:
        return _middles(given)
    recipe = replace(Recipe.read(given.recipe), steps=given.steps)
    sums: dict[str, list[Sums]] = {}
    try:
        loaded = {model: checkpoint.read_checkpoint(checkpoint.find_model(model)) for model in given.models}
        tokenizer = loaded[given.models[0]].tokenizer
        data = Steps(recipe, tokenizer, Cuts(recipe, tokenizer, given.corpus, "heldout"))
        batches = [part for step in range(given.steps) for part in data[step]]
        for model, found in loaded.items():
            shown = track(batches, model, console=Console(stderr=True), transient=True)
            sums[model] = measure(Network.of(found), shown)
    except (checkpoint.CheckpointError, CorpusError) as error:
        sys.exit(str(error))
    first = sums[given.models[0]]
    made = {model: figures(own, first) for model, own in sums.items()}
    if given.json:
        print(json.dumps({"recipe": recipe.name, "steps": given.steps, "models": made}))
    else:
        rows = [row(model, found, sums[model] is first) for model, found in made.items()]
        width = None if sys.stdout.isatty() else tables.WIDE
        Console(width=width).print(tables.table("Nats a token on held-out packages", HEADINGS, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
