"""Saves a network as a checkpoint that `mercury_lsp.engine.checkpoints.checkpoint` reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save_file
from torch import Tensor

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints.checkpoint import CONFIG, FORMAT, fingerprint
from mercury_lsp.engine.tokenizer import Tokenizer
from model.compression.quantization_grid import pack

SHARD_BYTES = 44 << 20
# Values that share a scale: enough to cost only a quarter bit each, few enough for outliers.
GROUP = 64


def save(
    folder: Path,
    name: str,
    network: Network,
    tokenizer_json: str,
    about: Mapping[str, object],
    bits: Callable[[str], int] | None = None,
    scales: Mapping[str, Tensor] = MappingProxyType({}),
) -> str:
    """Write a checkpoint of a network into a folder and return its fingerprint.

    bits: returns the number of bits for the matrix of a name; None writes bf16. scales: the scales, by name, of
    matrices whose values lie on a grid of these bits already. Vectors keep their number format. Shards stay below
    `SHARD_BYTES`, unless one tensor is larger. A checkpoint that is in the folder already is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "new"
    # An interrupted save may have left this folder.
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    packed = {key: bits(key) for key, _ in network.matrices()} if bits is not None else {}
    shard: dict[str, Tensor] = {}
    size = number = 0
    for key, weight in network.state_dict().items():
        dtype = torch.bfloat16 if weight.ndim == 2 else weight.dtype
        parts = {key: weight.detach().to("cpu", dtype).contiguous()}
        if key in packed:
            own = scales[key].cpu() if key in scales else None
            planes, scale = pack(weight.detach().cpu(), packed[key], GROUP, own)
            parts = {f"{key}.planes": planes, f"{key}.scale": scale}
        bytes_ = sum(part.numel() * part.element_size() for part in parts.values())
        if shard and size + bytes_ > SHARD_BYTES:
            save_file(shard, new / f"model-{number}.safetensors")
            shard, size, number = {}, 0, number + 1
        shard |= parts
        size += bytes_
    save_file(shard, new / f"model-{number}.safetensors")
    for old in folder.glob("*.safetensors"):
        old.unlink()
    for file in list(new.iterdir()):
        os.replace(file, folder / file.name)
    new.rmdir()
    (folder / Tokenizer.FILE).write_text(tokenizer_json, encoding="utf-8")
    found = fingerprint(folder)
    about = dict(about)
    config = {
        "format": FORMAT,
        "name": name,
        "shape": network.shape.values(),
        "bits": packed,
        "fingerprint": found,
        "about": about,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return found
