"""Reads safetensors files by plain reads, so that a file that is cut off meanwhile is an error and not a signal.

A file that is mapped into memory would end the process by SIGBUS once a page of it is gone. The form: the header's
length in 8 bytes, the header, a JSON object with each weight's place, and the weights (safetensors' README).
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
LONGEST_HEADER_BYTES = 100_000_000  # as the format's own readers have it


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """Where a weight is: its first byte and its bytes in a file of ``file_bytes``, its type and dimensions."""

    file: Path
    file_bytes: int
    start: int
    size: int
    dtype: str
    shape: tuple[int, ...]

    def read(self) -> bytearray:
        """Its bytes. Raises ``OSError``, or ``ValueError`` where the file has changed its size."""
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


def read_weights(file: Path) -> dict[str, StoredWeight]:
    """The weights of a file by name, none of them read. Raises ``OSError``, or ``ValueError`` where it is not whole."""
    try:
        return _read(file)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        told = str(error) if type(error) is ValueError else "its header is none"
        raise ValueError(f"its file {file.name} is damaged or incomplete ({told})") from error


def _read(file: Path) -> dict[str, StoredWeight]:
    if not file.is_file():
        raise ValueError("it is no regular file")
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(0)
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= min(size - 8, LONGEST_HEADER_BYTES):
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
        raise ValueError("a weight's size is none")
    if dtype not in ITEM_BYTES or math.prod(shape) * ITEM_BYTES[dtype] != end - start:
        raise ValueError(f"a weight of type {str(dtype)[:20]} has a size that does not fit")
    return StoredWeight(file, file_bytes, offset + start, end - start, dtype, shape)
