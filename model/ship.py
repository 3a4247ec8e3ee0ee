"""``python -m model.ship CHECKPOINT``: packs a checkpoint into the few bits that the package carries.

Owns how many bits each kind of matrix gets, and the passes over training data by which they are rounded. Knows
nothing of training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from mercury_lsp.engine import checkpoint
from mercury_lsp.engine.canvas import Tokenizer
from model.objective import loss_of
from model.quantise import moments, rounded
from model.train import Contexts, Recipe

RECIPE = Path(__file__).resolve().parent / "recipes" / "small-cpu.toml"


def bits(name: str) -> int:
    """Five for the feed-forward, which is three fifths of the model and the least sensitive; six for all else."""
    return 5 if name.endswith(("gate_up.weight", "down.weight")) else 6


def round_all(source: checkpoint.Checkpoint, contexts: Contexts, steps: int) -> dict[str, Tensor]:
    """Put all but the embedding on its grid, in place, by the inputs of ``steps`` batches; returns the scales."""

    def run() -> Iterator[object]:
        for step in track(range(steps), "reading", transient=True):
            yield loss_of(source.network, contexts[step], torch.bfloat16)

    weights = dict(source.network.matrices())
    scales = {}
    found = moments(source.network, run)
    for name, moment in track(found.items(), "rounding", transient=True):
        values, scales[name] = rounded(weights[name], moment, bits(name), checkpoint.GROUP)
        weights[name].copy_(values)
    return scales


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.ship", description="Pack a checkpoint for shipping."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint")
    parser.add_argument("--name", default="small", help="of the model (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder to write (default: the package's own of that name)")
    parser.add_argument(
        "--steps", type=int, default=16, help="batches to round by; 0 rounds each weight by itself"
    )
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="of those batches (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        source = checkpoint.load(arguments.checkpoint)
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))
    scales = {}
    if arguments.steps:
        recipe = replace(Recipe.read(arguments.recipe), seed=1)  # no batch that it was trained on
        scales = round_all(source, Contexts(recipe, source.tokenizer), arguments.steps)
    folder = arguments.out or checkpoint.SHIPPED / arguments.name
    tokenizer = (source.folder / Tokenizer.FILE).read_text(encoding="utf-8")
    found = checkpoint.save(folder, arguments.name, source.network, tokenizer, source.about, bits, scales)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    print(f"{folder}: {size / 1e6:.1f} MB, fingerprint {found[:12]}")


if __name__ == "__main__":
    main()
