"""Reads the header of a GGUF file: its metadata, and the location of each weight.

The package ``gguf`` reads such files, too, but it maps them, takes seconds to make objects of all their strings, and
trusts the counts of a hostile file. Here plain reads are bounded by the file's own size. The supported formats are
GGUF 2 and 3, little-endian (ggml's docs/gguf.md).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO, Any

from mercury_lsp.engine.checkpoints.weight_file import StoredWeight

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 65_536
MAX_HEADER_BYTES = 256 << 20
MAX_NAME_BYTES = 65_535
# The longest array: longer than the tokens or merges of any vocabulary.
MAX_ITEMS = 2_000_000
DEFAULT_ALIGNMENT = 32
# The formats of `struct` by the metadata's type numbers.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


Header = tuple[dict[str, Any], dict[str, StoredWeight]]
"""The metadata of a file by key, and its weights by name, with dimensions in the order outputs, inputs."""


def read_gguf(path: Path) -> Header:
    """Read the header of a file. Raises ``OSError``, or ``ValueError`` if the file is damaged or incomplete."""
    if not path.is_file():
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        try:
            return _Header(path, file).read()
        except (struct.error, UnicodeDecodeError, OverflowError) as error:
            raise ValueError("its GGUF header is damaged or incomplete") from error


class _Header:
    """Reads one header from start to end."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._size = file.seek(0, 2)
        self._left = min(self._size, MAX_HEADER_BYTES)
        file.seek(0)

    def read(self) -> Header:
        """Read the header. Raises ``ValueError`` if it is damaged."""
        if self._bytes(4) != MAGIC:
            raise ValueError("it is not a GGUF file")
        (version,) = self._numbers("I")
        if version not in VERSIONS:
            raise ValueError(f"its GGUF version is {version}, and 2 and 3 are known here")
        weight_count, entry_count = self._numbers("QQ")
        if max(weight_count, entry_count) > MAX_ENTRIES:
            raise ValueError("its GGUF header names too many entries")
        metadata: dict[str, Any] = {}
        for _ in range(entry_count):
            key = self._text(MAX_NAME_BYTES)
            (kind,) = self._numbers("I")
            metadata[key] = self._value(kind)
        infos = [self._info() for _ in range(weight_count)]
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise ValueError("its alignment is invalid")
        start = -(-self._file.tell() // alignment) * alignment
        weights: dict[str, StoredWeight] = {}
        for name, shape, dtype, size, offset in infos:
            if name in weights:
                raise ValueError(f"it has the weight {name!r} twice")
            if start + offset + size > self._size:
                raise ValueError(f"it ends within its weight {name!r}; download it again")
            weights[name] = StoredWeight(self._path, self._size, start + offset, size, dtype, shape)
        return metadata, weights

    def _bytes(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise ValueError("its GGUF header is damaged or incomplete")
        return self._file.read(count)

    def _numbers(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        return struct.unpack(form, self._bytes(struct.calcsize(form)))

    def _text(self, max_bytes: int = MAX_HEADER_BYTES) -> str:
        (length,) = self._numbers("Q")
        if length > max_bytes:
            raise ValueError("its GGUF header has a text that is too long")
        return self._bytes(length).decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._numbers(_SCALARS[kind])[0]
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            raise ValueError("its GGUF header has a value of unknown type")
        item, count = self._numbers("IQ")
        if count > MAX_ITEMS:
            raise ValueError("its GGUF header has an array that is too long")
        if item in _SCALARS:
            return list(self._numbers(f"{count}{_SCALARS[item]}"))
        if item != _STRING:
            raise ValueError("its GGUF header has an array of unknown type")
        return [self._text() for _ in range(count)]

    def _info(self) -> tuple[str, tuple[int, ...], str, int, int]:
        """Read the name, dimensions, type, size in bytes and offset of a weight."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self._text(MAX_NAME_BYTES)
        (count,) = self._numbers("I")
        if not 1 <= count <= 4:
            raise ValueError(f"its weight {name!r} has {count} dimensions")
        shape = tuple(reversed(self._numbers(f"{count}Q")))
        number, offset = self._numbers("IQ")
        try:
            kind = GGMLQuantizationType(number)
        except ValueError:
            raise ValueError(f"its weight {name!r} is of an unknown type") from None
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if not all(shape) or math.prod(shape) > 1 << 48 or shape[-1] % block:
            raise ValueError(f"its weight {name!r} has a size that does not fit its type")
        return name, shape, kind.name, math.prod(shape) // block * block_bytes, offset
