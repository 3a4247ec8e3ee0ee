"""Turns files into entries with compressed text, and cuts the text of an entry into chunks.

The text is compressed because only a few of thousands of files are ever used; chunks are cut when they are needed.
Secrets are removed by the caller.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from sys import getsizeof

from mercury_lsp.syntax.document import plain

# Longer files are mostly generated.
MAX_FILE_CHARACTERS = 200_000
# The size of the project memory, in which a token takes 6 to 8 bytes.
MEMORY_BYTES_PER_CHARACTER = 2.5
# The size of an entry without its text.
ENTRY_BYTES = 500
# The length of a chunk, and the distance between the starts of two chunks, in lines.
CHUNK_LINES, STRIDE_LINES = 12, 6

_WORD = re.compile(r"[A-Za-z_]\w{2,}")
# Words of many languages that say nothing about the subject of code.
COMMON_WORDS = frozenset(
    _WORD.findall(
        "and async await bool boolean break byte case catch char class const continue data def default del "
        "delete double elif else end enum err error except export extends extern false final finally float "
        "fmt for from func function get global goto has i32 i64 impl implements import include inline "
        "instanceof int interface isinstance lambda len let list long loop map match mod mut namespace new "
        "nil none None not null number object override package pass print private protected pub public raise "
        "ref require return Self self set short signed size_t static str string String struct super switch "
        "template test the then this throw throws trait true True False try type typedef typeof u32 u64 "
        "undefined union unsafe unsigned use using usize value var virtual void when where while with yield "
    )
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines of a file from line ``line`` on, and their words."""

    line: int
    text: str
    words: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One file. ``path``: relative to its workspace folder, POSIX. ``packed``: the compressed text.

    ``size``: the approximate size of the entry and its part of the project memory, in bytes.
    """

    path: str
    packed: bytes
    size: int

    @property
    def text(self) -> str:
        r"""The file's text, with \n as the only line ending."""
        return zlib.decompress(self.packed).decode("utf-8")

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The file in overlapping chunks, from top to end."""
        return _chunks(self)


def read(path: str, text: str) -> Entry:
    """Make the entry of a file from at most its first `MAX_FILE_CHARACTERS`. Accepts any text."""
    text = plain(text[:MAX_FILE_CHARACTERS])
    packed = zlib.compress(text.encode("utf-8"), 1)
    return Entry(path, packed, getsizeof(packed) + ENTRY_BYTES + int(MEMORY_BYTES_PER_CHARACTER * len(text)))


def words(text: str) -> frozenset[str]:
    """Return the identifiers and words of a text, except `COMMON_WORDS`."""
    return frozenset(_WORD.findall(text)) - COMMON_WORDS


@dataclass(frozen=True, eq=False)
class Library:
    """The files for related text: entries by path, and the paths of open documents, most recently used first."""

    entries: Mapping[str, Entry]
    opened: tuple[str, ...] = ()


EMPTY = Library({})


@lru_cache(maxsize=64)
def _chunks(entry: Entry) -> tuple[Chunk, ...]:
    lines = entry.text.split("\n")
    pieces = []
    for first in range(0, max(1, len(lines) - STRIDE_LINES), STRIDE_LINES):
        piece = "\n".join(lines[first : first + CHUNK_LINES])
        start = first + len(piece) - len(piece.lstrip("\n"))
        if piece.strip():
            pieces.append(Chunk(start, piece.strip("\n"), words(piece)))
    return tuple(pieces)
