"""Prepares the weights for the CPU kernel, in a file that all servers of a user map.

The file lies in the user's cache folder: preparing takes most of the start time, and mapped weights are in memory once.
A missing or damaged file is made again. If the file cannot be written, the weights stay in memory. The layout is that
of `kernel/kernel.c`.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mercury_lsp import paths
from mercury_lsp.engine.backends.mapping import MappedFile
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.checkpoints.pack import Packed
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.system import default_threads

LAYOUT_VERSION = 1
# As in the kernel: the outputs of a block, the columns of a scale, and the level of zero.
LANES, GROUP, ZERO = 16, 64, 64
# More bits would overflow in the kernel's sums of two products.
MAX_LEVEL_BITS = 7
# A file is deleted after so long without use.
UNUSED_SECONDS = 30 * 24 * 3600
# The name of a file while it is written, and the age after which its writer must be dead.
UNFINISHED_PREFIX = "unfinished-"
UNFINISHED_SECONDS = 3600
_FILE_NAME = re.compile(rf"[0-9a-f]{{32}}-\d+\.bin|{UNFINISHED_PREFIX}\w+")
_CHECKSUM_BYTES = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A matrix (outputs, inputs) for the kernel.

    ``levels``: uint8 (outputs / 16, inputs / 64, 16, 16, 4): blocks of outputs, then groups of four columns; `ZERO` is
    zero. ``scales``: float32 (outputs / 16, inputs / 64, 16).
    """

    levels: NDArray[np.uint8]
    scales: NDArray[np.float32]
    outputs: int
    inputs: int

    def rows(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """The values of the rows ``which``. (n, inputs)"""
        block, lane = which // LANES, which % LANES
        levels = self.levels[block, :, :, lane].reshape(len(which), -1, GROUP).astype(np.float32)
        return ((levels - ZERO) * self.scales[block, :, lane][..., None]).reshape(len(which), -1)


class PreparedWeights:
    """The weights of a network by name: ``matrices`` for the kernel, and ``vectors``."""

    def __init__(
        self,
        shape: Shape,
        blob: NDArray[np.uint8],
        mapping: MappedFile | None = None,
        origin: Checkpoint | None = None,
    ) -> None:
        """blob: of `prepare_weights`. mapping: the file of the blob. origin: the checkpoint to restore it from."""
        self.shape = shape
        self._blob, self._mapping, self._origin = blob, mapping, origin
        self.matrices: dict[str, Matrix] = {}
        self.vectors: dict[str, NDArray[np.float32]] = {}
        for name, (part, size) in _parts(shape, blob).items():
            if len(size) == 1:
                self.vectors[name] = part.view(np.float32)
                continue
            outputs, inputs = size
            blocks = (outputs // LANES, inputs // GROUP, LANES)
            levels, scales = part[: outputs * inputs], part[outputs * inputs :].view(np.float32)
            self.matrices[name] = Matrix(
                levels.reshape(*blocks, LANES, 4), scales.reshape(blocks), outputs, inputs
            )
        self._embedding = self.matrices["embedding.weight"]

    @classmethod
    def of(
        cls, loaded: Checkpoint, progress: Callable[[float], None] | None = None
    ) -> PreparedWeights | None:
        """The weights of a checkpoint, from their file if there is one; None if the kernel does not support them.

        progress: called with the fraction done. Raises `CheckpointError`.
        """
        path = cache_folder() / "prepared" / f"{loaded.fingerprint[:32]}-{LAYOUT_VERSION}.bin"
        size = sum(_bytes(size) for size in loaded.shape.weights().values())
        mapping = _mapped(path, size)
        if mapping is None:
            weights = loaded.weights()
            if not all(map(_fits, weights.values())):
                return None
            blob = prepare_weights(loaded.shape, weights, size, progress)
            mapping = _mapped(path, size) if _write(path, blob) else None
            if mapping is None:
                return cls(loaded.shape, blob)
        return cls(loaded.shape, mapping.blob[:size], mapping, loaded)

    def restored(self) -> bool:
        """Whether the file was truncated, so that the results since the last call are wrong; restores the weights.

        Raises `CheckpointError` if the weights cannot be made again.
        """
        if self._mapping is None or self._origin is None or not self._mapping.lost:
            return False
        log.warning("The file of the prepared weights was truncated while in use; it is made again.")
        self._mapping.restore(prepare_weights(self.shape, self._origin.weights(), len(self._blob)))
        return True

    def embedded(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The embedding's rows of ids. (T, width)"""
        return self._embedding.rows(np.asarray(ids, np.int64))


def prepare_weights(
    shape: Shape,
    weights: Mapping[str, Packed | NDArray[np.float32]],
    size: int,
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Lay out all weights of a checkpoint in the order in which a pass reads them. uint8 (size,)

    The levels of a matrix come first, then its scales.
    """
    blob = np.empty(size, np.uint8)
    parts = _parts(shape, blob)

    def lay(name: str) -> None:
        weight, place = weights[name], parts[name][0]
        if not isinstance(weight, Packed):
            place.view(np.float32)[:] = weight
            return
        outputs, inputs = weight.shape
        levels = weight.levels() + np.int8(ZERO)  # (outputs, inputs)
        fours = levels.view(np.uint32).reshape(outputs // LANES, LANES, inputs // GROUP, LANES)
        place[: outputs * inputs].view(np.uint32)[:] = fours.transpose(0, 2, 3, 1).ravel()
        scales = weight.scale.reshape(outputs // LANES, LANES, -1).transpose(0, 2, 1)
        place[outputs * inputs :].view(np.float32)[:] = scales.ravel()

    with ThreadPoolExecutor(default_threads()) as pool:
        for done, _ in enumerate(pool.map(lay, parts), 1):
            if progress is not None:
                progress(done / len(parts))
    return blob


def _fits(weight: Packed | NDArray[np.float32]) -> bool:
    """Whether the kernel supports a weight: a vector, or a matrix packed in its groups with few enough bits."""
    if not isinstance(weight, Packed):
        return weight.ndim == 1
    rows, columns = weight.shape
    return (
        weight.bits <= MAX_LEVEL_BITS
        and weight.group == GROUP
        and rows % (2 * LANES) == 0
        and columns % GROUP == 0
    )


def _parts(shape: Shape, blob: NDArray[np.uint8]) -> dict[str, tuple[NDArray[np.uint8], tuple[int, ...]]]:
    """The part of each weight in a blob by name, with the weight's dimensions; the embedding comes last."""
    sizes = shape.weights()
    sizes["embedding.weight"] = sizes.pop("embedding.weight")
    parts, at = {}, 0
    for name, size in sizes.items():
        parts[name] = (blob[at : at + _bytes(size)], size)
        at += _bytes(size)
    return parts


def _bytes(size: tuple[int, ...]) -> int:
    """The bytes of a weight: a vector has 4 a value; a matrix 1 a value and 4 a group."""
    return 4 * size[0] if len(size) == 1 else size[0] * size[1] + size[0] * size[1] // GROUP * 4


def cache_folder() -> Path:
    """The user's cache folder of this program; it may not exist."""
    return paths.folder("cache")


def _mapped(path: Path, size: int) -> MappedFile | None:
    """Map the weights of a file; None if it is missing or damaged."""
    try:
        with open(
            os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)), "rb"
        ) as file:
            status = os.fstat(file.fileno())
            if not _is_ours(status):
                log.warning("%s can be written by others; it is made again.", path)
                return None
            mapping = (
                MappedFile(file, size + _CHECKSUM_BYTES) if status.st_size == size + _CHECKSUM_BYTES else None
            )
    except (OSError, ValueError):
        return None
    if mapping is None or not _is_complete(mapping, size):
        log.warning("%s is damaged; it is made again.", path)
        return None
    with suppress(OSError):
        # Mark the file as in use for `_delete_unused`.
        os.utime(path)
    return mapping


def _is_complete(mapping: MappedFile, size: int) -> bool:
    checksum = int.from_bytes(mapping.blob[size:].tobytes(), "little")
    return zlib.crc32(mapping.blob[:size].data) == checksum and not mapping.lost


def _is_ours(status: os.stat_result) -> bool:
    """Whether only the user or the administrator can have written a file."""
    if not stat.S_ISREG(status.st_mode):
        return False
    return sys.platform == "win32" or (status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022)


def _write(path: Path, blob: NDArray[np.uint8]) -> bool:
    """Write a file completely or not at all; returns whether that worked."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED_PREFIX, delete=False) as file:
            temporary = file.name
            file.write(blob.data)
            file.write(zlib.crc32(blob.data).to_bytes(_CHECKSUM_BYTES, "little"))
        os.replace(temporary, path)
        _delete_unused(path.parent)
    except OSError as error:
        log.info("The prepared weights cannot be kept in %s: %s.", path.parent, error)
        with suppress(OSError):
            if temporary:
                os.unlink(temporary)
        return False
    return True


def _delete_unused(folder: Path) -> None:
    """Delete files of weights that were unused for long, or that were never finished.

    An update of the model leaves a file of the first kind, a killed server one of the second.
    """
    if folder.is_symlink():
        return
    for file in folder.iterdir():
        with suppress(OSError):
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode) or not _FILE_NAME.fullmatch(file.name):
                continue
            age = time.time() - status.st_mtime
            if age > (UNFINISHED_SECONDS if file.name.startswith(UNFINISHED_PREFIX) else UNUSED_SECONDS):
                file.unlink()
