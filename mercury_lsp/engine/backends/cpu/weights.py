"""Prepares the weights for the C kernel, in a file that all servers of a user map into memory.

The file is in the user's cache folder. It saves most of the start time, and all servers share one copy in memory. A
missing or damaged file is written again. If the file cannot be written, the weights are kept in memory. The layout is
that of `kernel/kernel.c`.
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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.cpu.kernel import padded_vocabulary
from mercury_lsp.engine.backends.cpu.layout import Matrix, matrix_bytes
from mercury_lsp.engine.backends.cpu.mapping import MappedFile
from mercury_lsp.engine.backends.cpu.sources import WeightSource
from mercury_lsp.engine.system import default_threads
from mercury_lsp.paths import cache_folder

LAYOUT_VERSION = 3
# A file that was not used for this long is deleted.
UNUSED_SECONDS = 30 * 24 * 3600
# The name of an unfinished file, and the age after which its writer counts as dead.
UNFINISHED_PREFIX = "unfinished-"
UNFINISHED_SECONDS = 3600
_FILE_NAME = re.compile(rf"[0-9a-f]{{32}}-\d+\.bin|{UNFINISHED_PREFIX}\w+")
_CHECKSUM_BYTES = 8

log = logging.getLogger(__name__)


class PreparedWeights:
    """The weights of a network by name: ``matrices`` for the kernel, and ``vectors``."""

    def __init__(
        self, source: WeightSource, blob: NDArray[np.uint8], mapping: MappedFile | None = None
    ) -> None:
        """blob: the result of `prepare_weights`. mapping: the file of the blob, which is restored from ``source``."""
        self.shape = source.shape
        self._source, self._blob, self._mapping = source, blob, mapping
        self.matrices: dict[str, Matrix] = {}
        self.vectors: dict[str, NDArray[np.float32]] = {}
        for name, part in _parts(source, blob).items():
            if isinstance(part, Matrix):
                self.matrices[name] = part
            else:
                self.vectors[name] = part

    @classmethod
    def of(
        cls, source: WeightSource, progress: Callable[[float], None] | None = None
    ) -> PreparedWeights | None:
        """Load the weights of a source from their file, or prepare them; None if the kernel does not support them.

        progress: called with the fraction done. Raises `CheckpointError`.
        """
        path = cache_folder() / "prepared" / f"{source.key[:32]}-{LAYOUT_VERSION}.bin"
        size = sum(_sizes(source).values())
        mapping = _map_file(path, size)
        if mapping is None:
            blob = prepare_weights(source, progress)
            if blob is None:
                return None
            mapping = _map_file(path, size) if _write_file(path, blob) else None
            if mapping is None:
                return cls(source, blob)
        return cls(source, mapping.blob[:size], mapping)

    def restore_if_lost(self) -> bool:
        """Restore the weights if the file was truncated, and return whether it was.

        If so, the results since the last call may be wrong. Raises `CheckpointError` if the weights cannot be prepared
        again.
        """
        if self._mapping is None or not self._mapping.lost:
            return False
        log.warning("The file of the prepared weights was truncated while in use; it is made again.")
        blob = prepare_weights(self._source)
        assert blob is not None, "the source was supported before"
        self._mapping.restore(blob)
        return True

    def embed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the embedded rows of ids. (T, width)"""
        return self.matrices["embedding.weight"].rows(np.asarray(ids, np.int64))

    @property
    def output(self) -> Matrix:
        """The matrix from hidden rows to logits, whose rows are padded."""
        return self.matrices["embedding.weight" if self.shape.tied else "output.weight"]


def prepare_weights(
    source: WeightSource, progress: Callable[[float], None] | None = None
) -> NDArray[np.uint8] | None:
    """Lay out all weights of a source in the order in which a pass reads them, uint8 (size,).

    The levels of a matrix come before its scales. Returns None if the kernel does not support the weights. progress:
    called with the fraction done. Raises `CheckpointError`.
    """
    write = source.writer()
    if write is None:
        return None
    # The padding rows of the vocabulary stay zero.
    blob = np.zeros(sum(_sizes(source).values()), np.uint8)
    parts = _parts(source, blob)
    with ThreadPoolExecutor(default_threads()) as pool:
        for count, _ in enumerate(pool.map(write, parts, parts.values()), 1):
            if progress is not None:
                progress(count / len(parts))
    return blob


def _dimensions(source: WeightSource) -> dict[str, tuple[int, ...]]:
    """Return the dimensions of each weight by name, in file order; vocabulary matrices are padded and last."""
    sizes = source.shape.weights()
    for name in ("embedding.weight", "output.weight"):
        if name in sizes:
            sizes[name] = (padded_vocabulary(source.shape), sizes.pop(name)[1])
    return sizes


def _sizes(source: WeightSource) -> dict[str, int]:
    """Return the size in bytes of each weight by name."""
    return {
        name: matrix_bytes(*size, source.bits(name)) if len(size) == 2 else 4 * size[0]
        for name, size in _dimensions(source).items()
    }


def _parts(source: WeightSource, blob: NDArray[np.uint8]) -> dict[str, Matrix | NDArray[np.float32]]:
    """Return the view of each weight in a blob by name."""
    parts: dict[str, Matrix | NDArray[np.float32]] = {}
    at = 0
    dimensions = _dimensions(source)
    for name, size in _sizes(source).items():
        part, dims = blob[at : at + size], dimensions[name]
        parts[name] = (
            Matrix.view(part, dims[0], dims[1], source.bits(name))
            if len(dims) == 2
            else part.view(np.float32)
        )
        at += size
    return parts


def _map_file(path: Path, size: int) -> MappedFile | None:
    """Map a file of weights; None if the file is missing or damaged, or if others can write it."""
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
    """Return whether only the user or the administrator can have written a file."""
    if not stat.S_ISREG(status.st_mode):
        return False
    return sys.platform == "win32" or (status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022)


def _write_file(path: Path, blob: NDArray[np.uint8]) -> bool:
    """Write a file atomically; return whether it was written."""
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
    """Delete old files that were not used for long, and unfinished files.

    An update of a model leaves an unused file, a killed server an unfinished one.
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
