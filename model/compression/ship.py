"""Quantizes and packs a checkpoint for the package: ``python -m model.compression.ship``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.pack import Packed
from mercury_lsp.engine.tokenizer import Tokenizer
from model import RECIPES
from model.compression.quantize import gptq, moments
from model.compression.rounding import bits
from model.data.shards import Shards
from model.data.step_data import Cuts, Groups, Steps
from model.training.hardware import fastest_dtype
from model.training.objective import hidden_states
from model.training.recipe import Recipe
from model.training.save import GROUP, save

STEPS = 16
RECIPE = RECIPES / "small-cpu.toml"


def gptq_in_place(network: Network, data: Steps, steps: int) -> dict[str, Tensor]:
    """Adjust all matrices but the embedding in place by GPTQ, over ``steps`` steps of data; return the scales."""
    dtype = fastest_dtype(torch.device("cpu"))

    def run() -> Iterator[object]:
        for step in track(range(steps), "reading", transient=True):
            for part in data[step]:
                yield hidden_states(network, part, dtype)

    weights = dict(network.matrices())
    scales = {}
    found = moments(network, run)
    made = gptq(network, found, bits, GROUP)
    for name, values, scale in track(made, "rounding", total=len(found), transient=True):
        weights[name].copy_(values)
        scales[name] = scale
    return scales


def own_scales(source: checkpoint.Checkpoint) -> dict[str, Tensor]:
    """Return the scales, fp16 (R, C / group) by name, of the matrices that already have the shipped format."""
    packed = ((name, weight) for name, weight in source.weights().items() if isinstance(weight, Packed))
    return {
        name: torch.from_numpy(weight.scale)
        for name, weight in packed
        if (weight.bits, weight.group) == (bits(name), GROUP)
    }


def split(file: Path, size: int) -> None:
    """Replace a file by parts of at most ``size`` bytes, whose names sort in order."""
    content = file.read_bytes()
    for number, at in enumerate(range(0, len(content), size)):
        file.with_name(f"{file.name}.part-{number:02}").write_bytes(content[at : at + size])
    file.unlink()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.compression.ship", description="Pack a checkpoint for shipping."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint")
    parser.add_argument("--name", default="small", help="name of the model (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder to write (default: the package's own of that name)")
    parser.add_argument(
        "--steps",
        type=int,
        help="batches for GPTQ; 0 rounds each weight by itself "
        "(default: 0 for a model trained with quantized weights, else 16)",
    )
    parser.add_argument(
        "--recipe", type=Path, default=RECIPE, help="recipe of these batches (default: %(default)s)"
    )
    parser.add_argument("--shards", type=Path, help="take the batches from this folder of model.data.shards")
    parser.add_argument(
        "--part-mb", type=float, help="with --out: split larger files into parts of this size"
    )
    arguments = parser.parse_args()
    if arguments.part_mb and not arguments.out:
        parser.error("--part-mb is for a separate folder: name it with --out")
    try:
        source = checkpoint.read_checkpoint(arguments.checkpoint)
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))
    network = Network.of(source)
    steps = arguments.steps
    if steps is None:
        steps = 0 if source.about.get("rounded") else STEPS
    if steps:
        # A seed that no training run uses.
        recipe = replace(Recipe.read(arguments.recipe), seed=1)
        shards = arguments.shards
        groups: Groups = Shards(shards, recipe.seed) if shards else Cuts(recipe, source.tokenizer)
        scales = gptq_in_place(network, Steps(recipe, source.tokenizer, groups), steps)
    else:
        scales = own_scales(source)
    folder = arguments.out or checkpoint.SHIPPED / arguments.name
    tokenizer = (source.folder / Tokenizer.FILE).read_text(encoding="utf-8")
    found = save(folder, arguments.name, network, tokenizer, source.about, bits, scales)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    print(f"{folder}: {size / 1e6:.1f} MB, fingerprint {found[:12]}")
    if arguments.part_mb:
        part = int(arguments.part_mb * 1e6)
        for file in sorted(file for file in folder.iterdir() if file.stat().st_size > part):
            split(file, part)
            print(f"to join:  cat {file.name}.part-* > {file.name} && rm {file.name}.part-*")


if __name__ == "__main__":
    main()
