"""Removes layers and feed-forward channels from a network: ``python -m model.compression.prune``.

A pruned network must be trained again (`train`, with the original network as its teacher). The more is removed at once,
the more the network loses, so prune in stages.

Layers are removed one at a time: the layer without which the measured loss on training contexts is least. ShortGPT
(Men et al. 2024) estimates this from the similarity of a layer's input and output instead. In the feed-forward, the
channels that contribute most to the residual stream are kept (after Minitron, Muralidharan et al. 2024): those with the
largest root mean square of the activation times the norm of the weight column.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

from mercury_lsp.engine.backends.network import Layer, Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.tokenizer import Tokenizer
from model import RECIPES
from model.data.shards import Shards
from model.data.step_data import Cuts, Groups, Steps
from model.training.batch import Batch
from model.training.hardware import flops, keep_memory
from model.training.objective import loss_of
from model.training.recipe import Recipe
from model.training.save import GROUP, save

RECIPE = RECIPES / "mini-cpu.toml"
TRIED = 8
# The compute of networks is compared by this pass: a draft is verified after a full window.
ROWS, CONTEXT = 24, 512


def compute(shape: Shape) -> float:
    """Return the FLOPs of a pass of `ROWS` rows after `CONTEXT` cached rows, with logits for all `ROWS` rows."""
    # A forward pass is a third of a training step.
    return flops(shape, ROWS, CONTEXT, ROWS) / 3


def loss(network: Network, batches: Sequence[Batch]) -> float:
    """Return the mean joint loss of some batches."""
    with torch.no_grad():
        return sum(float(loss_of(network, batch).total) for batch in batches) / len(batches)


def drop_layers(network: Network, wanted: int, batches: Sequence[Batch]) -> Iterator[tuple[int, float]]:
    """Remove layers in place until ``wanted`` are left; yield each removed layer's original index and the loss.

    The first round tries all layers; each later round tries the `TRIED` layers with the least loss when last tried.
    """
    layers = dict(enumerate(network.layers))
    # The loss without each layer, when last tried.
    without = dict.fromkeys(layers, 0.0)
    tried = len(layers)
    while len(layers) > wanted:
        for index in sorted(layers, key=without.__getitem__)[:tried]:
            network.layers = nn.ModuleList(layer for i, layer in layers.items() if i != index)
            without[index] = loss(network, batches)
        tried = TRIED
        spared = min(layers, key=without.__getitem__)
        del layers[spared]
        network.layers = nn.ModuleList(layers.values())
        network.shape = replace(network.shape, layers=len(layers))
        yield spared, without[spared]


def narrow(network: Network, hidden: int, batches: Sequence[Batch]) -> None:
    """Keep, in place, the ``hidden`` channels of each feed-forward that contribute most."""
    energy: dict[int, Tensor] = {}
    handles = []
    layers = [layer for layer in network.layers if isinstance(layer, Layer)]
    for index, layer in enumerate(layers):

        def see(_: nn.Module, given: tuple[Tensor, ...], key: int = index) -> None:
            energy[key] = energy.get(key, 0) + given[0].float().square().flatten(0, -2).sum(0)  # (hidden,)

        handles.append(layer.down.register_forward_pre_hook(see))
    try:
        loss(network, batches)
    finally:
        for handle in handles:
            handle.remove()
    for index, layer in enumerate(layers):
        worth = energy[index] * layer.down.weight.square().sum(0)
        kept = worth.topk(hidden).indices.sort().values
        gate, up = layer.gate_up.weight.chunk(2)
        layer.gate_up = linear(torch.cat((gate[kept], up[kept])))
        layer.down = linear(layer.down.weight[:, kept])
    network.shape = replace(network.shape, hidden=hidden)


def linear(weight: Tensor) -> nn.Linear:
    """Return a linear layer of these weights (out, in), without a bias."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    made.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    return made


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.compression.prune", description="Remove layers and channels from a network."
    )
    parser.add_argument("checkpoint", help="a shipped model's name, or a folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--name", default="mini", help="name of the model (default: %(default)s)")
    parser.add_argument("--layers", type=int, help="number of layers to keep (default: all)")
    parser.add_argument("--hidden", type=int, help="channels of each feed-forward to keep (default: all)")
    parser.add_argument("--steps", type=int, default=1, help="batches to choose by (default: %(default)s)")
    parser.add_argument(
        "--recipe", type=Path, default=RECIPE, help="recipe of these batches (default: %(default)s)"
    )
    parser.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    parser.add_argument("--shards", type=Path, help="take the batches from this folder of model.data.shards")
    given = parser.parse_args(argv)
    keep_memory()
    try:
        source = checkpoint.read_checkpoint(checkpoint.find_model(given.checkpoint))
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))
    network = Network.of(source)
    before = network.shape
    layers, hidden = given.layers or before.layers, given.hidden or before.hidden
    if not 0 < layers <= before.layers or not 0 < hidden <= before.hidden or hidden % GROUP:
        parser.error(
            f"of {before.layers} layers and {before.hidden} channels some must stay, "
            f"and of the channels a multiple of {GROUP}"
        )
    # A seed that no training run uses.
    recipe = replace(Recipe.read(given.recipe), seed=2)
    groups: Groups = (
        Shards(given.shards, recipe.seed) if given.shards else Cuts(recipe, source.tokenizer, given.corpus)
    )
    steps = Steps(recipe, source.tokenizer, groups)
    batches = [part for step in range(given.steps) for part in steps[step]]
    print(f"loss of all {before.layers} layers: {loss(network, batches):.3f}")
    if hidden < before.hidden:
        narrow(network, hidden, batches)
        print(f"with {hidden} of {before.hidden} channels: {loss(network, batches):.3f}")
    gone = drop_layers(network, layers, batches)
    for index, left in track(gone, "dropping layers", total=before.layers - layers, transient=True):
        print(f"without layer {index}: {left:.3f}")
    tokenizer = (source.folder / Tokenizer.FILE).read_text(encoding="utf-8")
    about = {**source.about, "pruned_from": source.fingerprint[:12], "rounded": 0.0}
    save(given.out, given.name, network, tokenizer, about)
    print(f"{given.out}: {compute(network.shape) / compute(before):.1%} of the compute of a pass")


if __name__ == "__main__":
    main()
