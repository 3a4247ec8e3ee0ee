"""Checkpoints: a folder of safetensors shards, ``config.json`` and ``tokenizer.json``, with a fingerprint.

Owns the file format, the packing into few bits being `pack`'s. Every way in which such a folder can be wrong ends in
a `CheckpointError` of one sentence. Never pickle, never code from a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mercury_lsp.engine.canvas import Tokenizer
from mercury_lsp.engine.network import Network, Shape
from mercury_lsp.engine.pack import pack, unpack

FORMAT = 1
CONFIG = "config.json"
SHIPPED = Path(__file__).resolve().parent.parent / "weights"
SHARD_BYTES = 44 << 20
GROUP = 64  # values that share a scale: wide enough to cost a quarter bit, narrow enough for outliers


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `load` found."""

    name: str
    folder: Path
    network: Network
    tokenizer: Tokenizer
    fingerprint: str
    about: Mapping[str, object]


def find(model: str) -> Path:
    """Folder of a model by its name (a shipped one) or path. Raises `CheckpointError` where there is none."""
    model = os.environ.get("MERCURY_MODEL", "") or model
    for folder in (SHIPPED / model, Path(model).expanduser()):
        if (folder / CONFIG).is_file():
            return folder
    raise CheckpointError(f"There is no model {model!r}: neither a shipped one nor a folder with a {CONFIG}.")


def read_config(folder: Path) -> dict[str, object]:
    """The configuration of a checkpoint. Raises `CheckpointError`."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The model's {folder / CONFIG} cannot be read: {_sentence(error)}.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(
            f"The model in {folder} has a format that is not known here; update mercury-lsp."
        )
    return config


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and contents of the shards and the tokenizer."""
    digest = hashlib.sha256()
    for path in [*sorted(folder.glob("*.safetensors")), folder / Tokenizer.FILE]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def load(
    folder: Path, dtype: torch.dtype = torch.float32, progress: Callable[[float], None] | None = None
) -> Checkpoint:
    """Read a checkpoint, check its fingerprint, and build the network in ``dtype`` on the CPU.

    progress: called with the fraction done. Raises `CheckpointError`.
    """
    config = read_config(folder)
    try:
        found = fingerprint(folder)
        if found != config.get("fingerprint"):
            raise CheckpointError(
                f"The model in {folder} is damaged: reinstall it, its fingerprint does not match."
            )
        tokenizer = Tokenizer.load(folder)
        shape = Shape.of(dict(config["shape"]))  # type: ignore[call-overload]  # wrong types are caught below
        weights = _read(folder, dict(config.get("bits", {})), dtype, progress)  # type: ignore[call-overload]
        with torch.device("meta"):
            network = Network(shape)
        network.load_state_dict(weights, strict=True, assign=True)
        network.build_tables()
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"The model in {folder} cannot be used: {_sentence(error)}.") from error
    network.requires_grad_(False).eval()
    name = str(config.get("name", folder.name))
    return Checkpoint(name, folder, network, tokenizer, found, config.get("about", {}))  # type: ignore[arg-type]


def _sentence(error: Exception) -> str:
    """An exception's words on one line."""
    return " ".join(str(error).split()).rstrip(" .")


def _read(
    folder: Path, bits: Mapping[str, int], dtype: torch.dtype, progress: Callable[[float], None] | None
) -> dict[str, Tensor]:
    """All tensors of a folder's shards in ``dtype``, unpacked."""
    weights: dict[str, Tensor] = {}
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise OSError("its weights are missing")
    for index, path in enumerate(shards):
        with safe_open(path, framework="pt") as shard:
            names = list(shard.keys())
            for done, name in enumerate(names):
                if name.endswith(".planes"):
                    plain = name.removesuffix(".planes")
                    weights[plain] = unpack(shard.get_tensor(name), shard.get_tensor(f"{plain}.scale"), dtype)
                elif name.removesuffix(".scale") not in bits:
                    weights[name] = shard.get_tensor(name).to(dtype)
                if progress is not None:
                    progress((index + (done + 1) / len(names)) / len(shards))
    return weights


def save(
    folder: Path,
    name: str,
    network: Network,
    tokenizer_json: str,
    about: Mapping[str, object],
    bits: Callable[[str], int] | None = None,
    scales: Mapping[str, Tensor] = MappingProxyType({}),
) -> str:
    """Write a checkpoint of a network and return its fingerprint.

    bits: how many bits the matrix of a name takes; None writes bf16. scales: of matrices that lie on a grid of so
    many bits already, by name. Shards stay below `SHARD_BYTES`. What lay in the
    folder before is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    packed = {key: bits(key) for key, _ in network.matrices()} if bits is not None else {}
    shard: dict[str, Tensor] = {}
    size = number = 0
    for key, weight in network.state_dict().items():
        parts = {key: weight.detach().to("cpu", torch.bfloat16).contiguous()}
        if key in packed:
            planes, scale = pack(weight.detach().cpu(), packed[key], GROUP, scales.get(key))
            parts = {f"{key}.planes": planes, f"{key}.scale": scale}
        bytes_ = sum(part.numel() * part.element_size() for part in parts.values())
        if shard and size + bytes_ > SHARD_BYTES:
            save_file(shard, folder / f"model-{number}.safetensors")
            shard, size, number = {}, 0, number + 1
        shard |= parts
        size += bytes_
    save_file(shard, folder / f"model-{number}.safetensors")
    (folder / Tokenizer.FILE).write_text(tokenizer_json, encoding="utf-8")
    found = fingerprint(folder)
    shape = asdict(network.shape)
    about = dict(about)
    config = {
        "format": FORMAT,
        "name": name,
        "shape": shape,
        "bits": packed,
        "fingerprint": found,
        "about": about,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return found
