"""Maps a file of weights into memory so that truncating the file does not end the process.

On POSIX, reading a page of a mapped file that was truncated raises SIGBUS. The kernel's library has a handler that
replaces the pages by zeros and records the loss; then the results were wrong, and the weights are written again.
Without the handler the file is read into memory, which servers do not share.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

LIBRARY = Path(__file__).resolve().parents[2] / "kernel" / "kernel.lib"


@cache
def kernel_library() -> ctypes.CDLL | None:
    """Load the kernel's library; None if it is not installed."""
    try:
        return ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None


def _guard_library() -> ctypes.CDLL | None:
    """Return the library if it has the handler; None otherwise, and on Windows, which needs no handler."""
    library = None if sys.platform == "win32" else kernel_library()
    if library is None or not hasattr(library, "mercury_guard"):
        return None
    library.mercury_guard.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return library


class MappedFile:
    """The bytes of a file in ``blob``, an array that must not be changed.

    ``shared``: whether the file is mapped, so that processes share its memory.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        """size: bytes to map, at least 1. Raises `OSError`, or `ValueError` if the file is shorter."""
        self._library = library = _guard_library()
        self._guard, self._lost = -1, False
        self.blob: NDArray[np.uint8]
        self.shared = library is not None or sys.platform == "win32"
        if self.shared:
            self.blob = np.memmap(file, np.uint8, "r", shape=(size,))
        if library is not None:
            self._guard = library.mercury_guard(self.blob.ctypes.data, size)
            self.shared = self._guard >= 0
            if self.shared:
                weakref.finalize(self.blob, library.mercury_unguard, self._guard)
        if not self.shared:
            file.seek(0)
            self.blob = np.fromfile(file, np.uint8, size)
            if len(self.blob) != size:
                raise ValueError("the file is truncated")

    @property
    def lost(self) -> bool:
        """Whether the file was truncated since the last `restore`, so that its bytes in memory are zeros."""
        if self._guard >= 0 and self._library is not None:
            self._lost = bool(self._library.mercury_lost(self._guard)) or self._lost
        return self._lost

    def restore(self, blob: NDArray[np.uint8]) -> None:
        """Write the bytes of ``blob`` into memory again; the file itself stays as it is."""
        ctypes.memmove(self.blob.ctypes.data, blob.ctypes.data, len(blob))
        self._lost = False
