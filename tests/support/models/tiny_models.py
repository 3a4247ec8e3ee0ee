"""Makes tiny random networks, and checkpoints of them with the shipped tokenizer, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.tokenizer import Tokenizer
from model.training.save import save

TOKENIZER_JSON = checkpoint.SHIPPED / "small" / Tokenizer.FILE
WORD = "value"
TINY = Shape(vocabulary=49152, width=64, layers=2, heads=4, kv_heads=2, head_width=16, hidden=128)
PACKABLE = Shape(vocabulary=49152, width=128, layers=2, heads=2, kv_heads=1, head_width=64, hidden=192)


def tiny_network(seed: int = 0, shape: Shape = TINY) -> Network:
    """Return a random network whose logits are far enough apart for meaningful comparisons."""
    torch.manual_seed(seed)
    network = Network(shape)
    for weight in network.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.1)
    return network.requires_grad_(False).eval()


def save_tiny(folder: Path) -> Path:
    """Save the checkpoint of the fixture `tiny_model`."""
    network = tiny_network(shape=PACKABLE)
    save(folder, "tiny", network, TOKENIZER_JSON.read_text(encoding="utf-8"), {}, bits=lambda _: 7)
    return folder


def save_unpacked(folder: Path) -> Path:
    """Save the checkpoint of the fixture `unpacked_model`."""
    save(folder, "unpacked", tiny_network(), TOKENIZER_JSON.read_text(encoding="utf-8"), {})
    return folder


def save_packed(folder: Path) -> Path:
    """Save the checkpoint of the fixture `packed_model`, with matrices of 5, 6 and 7 bits."""
    network = tiny_network(shape=PACKABLE)
    kinds = {"gate_up.weight": 5, "down.weight": 5, "qkv.weight": 7}

    def bits(name: str) -> int:
        return next((count for kind, count in kinds.items() if name.endswith(kind)), 6)

    save(folder, "packed", network, TOKENIZER_JSON.read_text(encoding="utf-8"), {}, bits=bits)
    return folder


def save_pointing(
    folder: Path, name: str, tiny_model: Path, pointing: Callable[[Tokenizer, Tensor], dict[int, Tensor]]
) -> Path:
    """Save a checkpoint in which a row predicts the token that its own token's embedding points at.

    Its layers add nothing. ``pointing``: returns embeddings by token id, given the tokenizer and unit vectors (width,
    width).
    """
    loaded = checkpoint.read_checkpoint(tiny_model)
    network = Network.of(loaded)
    with torch.no_grad():
        for layer in network.layers:
            layer.attention.out.weight.zero_()
            layer.down.weight.zero_()
        for id_, embedding in pointing(loaded.tokenizer, torch.eye(network.shape.width)).items():
            network.embedding.weight[id_] = embedding
    tokenizer = (tiny_model / Tokenizer.FILE).read_text(encoding="utf-8")
    save(folder, name, network, tokenizer, {}, bits=lambda _: 7)
    return folder


def suggesting(tokenizer: Tokenizer, unit: Tensor, *words: str) -> dict[int, Tensor]:
    """Return embeddings with which any prompt is completed by these words and the end, almost with certainty.

    All tokens and `<fim_middle>` point at the first word, each word at the next word, and the last word and each mask
    at the end. Of the tokens that continue a stem, the shortest is likeliest, so that a word follows any stem. words:
    each is a single token, both at the beginning of a line and after a blank.
    """
    # Packed weights have one scale for each group of 64 columns, so large values have a group of their own.
    special, (p, y), steps = tokenizer.specials, unit[:2], unit[64:]
    found = {
        id_: p * (40 + 2 * max(0, 12 - len(text))) for id_, text in enumerate(tokenizer.token_bytes()) if text
    }
    found |= {special.fim_middle: p, special.mask: y, special.eot: 50 * y + 1500 * steps[len(words) - 1]}
    for i, word in enumerate(words):
        pointed = 64 * p if i == 0 else 400 * steps[i - 1]
        for text in {word, f" {word.lstrip()}"}:
            (id_,) = tokenizer.encode(text)
            found[id_] = (1.0 if text == word else 63 / 64) * pointed + (150 if i == 0 else 300) * steps[i]
    return found
