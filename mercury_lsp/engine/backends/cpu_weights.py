"""The weights as the CPU's kernel reads them, in a file that all servers of a user map.

Owns that layout and the file, which lies in the user's cache folder: preparing takes most of a start's time, and what
several servers map is in memory once. The file is derived: it is made anew where it is missing or wrong, and where it
cannot be written the weights are kept in memory. Knows the layout of `kernel/kernel.c`, and nothing of how it runs.
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
from mercury_lsp.engine.system import usual_threads

LAYOUT = 1  # goes up when the layout changes
LANES, GROUP, ZERO = 16, 64, 64  # as in the kernel: outputs of a block, columns of a scale, the level of zero
BITS = 7  # a level at most: more would overflow in the kernel's sums of two products
UNUSED = 30 * 24 * 3600  # seconds after which a file is deleted
UNFINISHED = "unfinished-"  # how the name of a file begins that is being written
ABANDONED = 3600  # seconds after which nobody writes it any more
_OWN = re.compile(rf"[0-9a-f]{{32}}-\d+\.bin|{UNFINISHED}\w+")  # names of files that are made here
_CHECK = 8  # bytes of the sum behind the weights

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A matrix (outputs, inputs) for the kernel. ``levels``: uint8 (outputs / 16, inputs / 64, 16, 16, 4), in fours of
    columns behind blocks of outputs, `ZERO` standing for zero; ``scales``: float32 (outputs / 16, inputs / 64, 16)."""

    levels: NDArray[np.uint8]
    scales: NDArray[np.float32]
    outputs: int
    inputs: int

    def rows(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some of its rows. (n, inputs)"""
        block, lane = which // LANES, which % LANES
        levels = self.levels[block, :, :, lane].reshape(len(which), -1, GROUP).astype(np.float32)
        return ((levels - ZERO) * self.scales[block, :, lane][..., None]).reshape(len(which), -1)


class Prepared:
    """The weights of a network by name: ``matrices`` for the kernel, and ``vectors``."""

    def __init__(
        self,
        shape: Shape,
        blob: NDArray[np.uint8],
        mapping: MappedFile | None = None,
        origin: Checkpoint | None = None,
    ) -> None:
        """blob: what `prepare` made; in a `mapping`, it can be made anew from its origin, the checkpoint."""
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
    def of(cls, loaded: Checkpoint, progress: Callable[[float], None] | None = None) -> Prepared | None:
        """A checkpoint's weights, from their file where there is one; None where the kernel cannot take them.

        progress: called with the fraction done. Raises `CheckpointError`.
        """
        path = cache_folder() / "prepared" / f"{loaded.fingerprint[:32]}-{LAYOUT}.bin"
        size = sum(_bytes(size) for size in loaded.shape.weights().values())
        mapping = _mapped(path, size)
        if mapping is None:
            weights = loaded.weights()
            if not all(map(_fits, weights.values())):
                return None
            blob = prepare(loaded.shape, weights, size, progress)
            mapping = _mapped(path, size) if _write(path, blob) else None
            if mapping is None:
                return cls(loaded.shape, blob)
        return cls(loaded.shape, mapping.blob[:size], mapping, loaded)

    def restored(self) -> bool:
        """Whether the file had been cut off, so that what was computed since this was asked last is wrong.

        The weights are as they must be again. Raises `CheckpointError` where they cannot be made anew.
        """
        if self._mapping is None or self._origin is None or not self._mapping.lost:
            return False
        log.warning("The file of the prepared weights was cut off while it was in use; they are made anew.")
        self._mapping.restore(prepare(self.shape, self._origin.weights(), len(self._blob)))
        return True

    def embedded(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The embedding's rows of ids. (T, width)"""
        return self._embedding.rows(np.asarray(ids, np.int64))


def prepare(
    shape: Shape,
    weights: Mapping[str, Packed | NDArray[np.float32]],
    size: int,
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """All weights of a checkpoint, in the order in which a pass reads them. uint8 (size,)

    Of a matrix its levels come first, and then its scales.
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

    with ThreadPoolExecutor(usual_threads()) as pool:
        for done, _ in enumerate(pool.map(lay, parts), 1):
            if progress is not None:
                progress(done / len(parts))
    return blob


def _fits(weight: Packed | NDArray[np.float32]) -> bool:
    """Whether the kernel can take a weight: a vector, or a matrix packed in its groups and not too finely."""
    if not isinstance(weight, Packed):
        return weight.ndim == 1
    rows, columns = weight.shape
    return weight.bits <= BITS and weight.group == GROUP and rows % (2 * LANES) == 0 and columns % GROUP == 0


def _parts(shape: Shape, blob: NDArray[np.uint8]) -> dict[str, tuple[NDArray[np.uint8], tuple[int, ...]]]:
    """The parts of a blob by the weights' names, with these weights' dimensions; a pass ends with the embedding."""
    sizes = shape.weights()
    sizes["embedding.weight"] = sizes.pop("embedding.weight")
    parts, at = {}, 0
    for name, size in sizes.items():
        parts[name] = (blob[at : at + _bytes(size)], size)
        at += _bytes(size)
    return parts


def _bytes(size: tuple[int, ...]) -> int:
    """What a weight takes: a vector 4 bytes a value; a matrix one, and 4 for each group."""
    return 4 * size[0] if len(size) == 1 else size[0] * size[1] + size[0] * size[1] // GROUP * 4


def cache_folder() -> Path:
    """The user's cache folder for this program; it may not exist."""
    return paths.folder("cache")


def _mapped(path: Path, size: int) -> MappedFile | None:
    """The weights in a file, mapped; None where it is missing, or is not what was written."""
    try:
        with open(
            os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)), "rb"
        ) as file:
            status = os.fstat(file.fileno())
            if not _is_ours(status):
                log.warning("%s can be written by others; it is made anew.", path)
                return None
            mapping = MappedFile(file, size + _CHECK) if status.st_size == size + _CHECK else None
    except (OSError, ValueError):
        return None
    if mapping is None or not _is_whole(mapping, size):
        log.warning("%s is damaged; it is made anew.", path)
        return None
    with suppress(OSError):
        os.utime(path)  # it is in use: see `_forget`
    return mapping


def _is_whole(mapping: MappedFile, size: int) -> bool:
    told = int.from_bytes(mapping.blob[size:].tobytes(), "little")
    return zlib.crc32(mapping.blob[:size].data) == told and not mapping.lost


def _is_ours(status: os.stat_result) -> bool:
    """Whether nobody but the user, or the system's administrator, can have written a file."""
    if not stat.S_ISREG(status.st_mode):
        return False
    return sys.platform == "win32" or (status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022)


def _write(path: Path, blob: NDArray[np.uint8]) -> bool:
    """Write a file whole or not at all; whether that worked."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED, delete=False) as file:
            temporary = file.name
            file.write(blob.data)
            file.write(zlib.crc32(blob.data).to_bytes(_CHECK, "little"))
        os.replace(temporary, path)
        _forget(path.parent)
    except OSError as error:
        log.info("The prepared weights cannot be kept in %s: %s.", path.parent, error)
        with suppress(OSError):
            if temporary:
                os.unlink(temporary)
        return False
    return True


def _forget(folder: Path) -> None:
    """Delete the files of weights that nobody has used for long, or that were never finished.

    An update of the model leaves one of the first kind behind, a server that was killed one of the other.
    """
    if folder.is_symlink():
        return
    for file in folder.iterdir():
        with suppress(OSError):
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode) or not _OWN.fullmatch(file.name):
                continue
            age = time.time() - status.st_mtime
            if age > (ABANDONED if file.name.startswith(UNFINISHED) else UNUSED):
                file.unlink()
