"""Reads safetensors files without mapping them, so that a concurrent truncation raises an error instead of a signal.

If a mapped file is truncated, SIGBUS ends the process. The format: the header's length in 8 bytes, the header, which is
a JSON object with the location of each weight, and the weights (safetensors' README).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ITEM_BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
# The limit of the format's own readers.
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """The location of a weight: ``size`` bytes from byte ``start`` on, in a file of ``file_bytes`` bytes."""

    file: Path
    file_bytes: int
    start: int
    size: int
    dtype: str
    shape: tuple[int, ...]

    def read(self) -> bytearray:
        """Read the weight's bytes. Raises ``OSError``, or ``ValueError`` if the file's size has changed."""
        values = bytearray(self.size)
        with self.file.open("rb", buffering=0) as file:
            if file.seek(0, 2) == self.file_bytes:
                file.seek(self.start)
                rest = memoryview(values)
                while rest and (count := file.readinto(rest)):
                    rest = rest[count:]
                if not rest:
                    return values
        raise ValueError(f"its file {self.file.name} changed while it was read; load it again")


def read_weight_index(file: Path) -> dict[str, StoredWeight]:
    """Read the locations of a file's weights by name. Raises ``OSError``, or ``ValueError`` for a damaged file."""
    try:
        return _read_header(file)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else "its header is invalid"
        raise ValueError(f"its file {file.name} is damaged or incomplete ({reason})") from error


def _read_header(file: Path) -> dict[str, StoredWeight]:
    if not file.is_file():
        raise ValueError("it is not a regular file")
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(0)
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= min(size - 8, MAX_HEADER_BYTES):
            raise ValueError("its header is cut off")
        header = json.loads(opened.read(length))
    weights = {
        name: _weight(file, size, 8 + length, entry)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    end = 8 + length
    for weight in sorted(weights.values(), key=lambda weight: weight.start):
        if weight.start != end:
            raise ValueError("its weights do not follow one another")
        end += weight.size
    if end != size:
        raise ValueError(f"it has {size} bytes, where {end} are expected")
    return weights


def _weight(file: Path, file_bytes: int, offset: int, entry: Mapping[str, Any]) -> StoredWeight:
    start, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    if not all(type(number) is int and 0 <= number <= file_bytes for number in (start, end, *shape)):
        raise ValueError("the size of a weight is invalid")
    if dtype not in ITEM_BYTES or math.prod(shape) * ITEM_BYTES[dtype] != end - start:
        raise ValueError(f"a weight of type {str(dtype)[:20]} has a size that does not fit")
    return StoredWeight(file, file_bytes, offset + start, end - start, dtype, shape)
