"""A document as an editor stores it: a sequence of the code units in which positions count.

Independent of the server's implementation, to be compared with it. In `units` each code unit is one character: a byte
of UTF-8, a 16-bit unit of UTF-16, or a code point.
"""

from __future__ import annotations

import hashlib
import random
import re
from typing import Any

ENCODINGS = ("utf-8", "utf-16", "utf-32")
PIECES = [
    "x", "value", " = ", "foo(bar)", "\n", "\r\n", "\r", "    ", "\t", "é", "ß", "€", "漢字", "😀", "👩‍👩‍👧", "e\u0301",
    "\x0c", "\x0b", "\x1c", "\x85", "\u2028", "\u2029", "\ufeff", "\U0010ffff", "\ufffd", "def f():\n", "'''", "#", "",
]  # fmt: skip
FAR = (2**31 - 1, 10**6)


class Mirror:
    """One document. ``encoding``: the position encoding, one of `ENCODINGS`."""

    def __init__(self, encoding: str, text: str) -> None:
        self.encoding = encoding
        self.units = self.split(text)

    def split(self, text: str) -> str:
        """Return the code units of a text."""
        if self.encoding == "utf-8":
            return text.encode().decode("latin-1")
        if self.encoding == "utf-16":
            data = text.encode("utf-16-be")
            return "".join(chr(256 * high + low) for high, low in zip(data[::2], data[1::2], strict=True))
        return text

    @property
    def text(self) -> str:
        """The text of the document."""
        if self.encoding == "utf-8":
            return self.units.encode("latin-1").decode()
        return self.units.encode("utf-16-be", "surrogatepass").decode("utf-16-be")

    @property
    def sha256(self) -> str:
        """The digest, as `mercury/documentDigest` returns it."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def lines(self) -> list[tuple[int, int]]:
        """Return the start and end of each line, without its line ending."""
        endings = [(match.start(), match.end()) for match in re.finditer("\r\n|\r|\n", self.units)]
        starts = [0, *(end for _, end in endings)]
        return list(zip(starts, [*(start for start, _ in endings), len(self.units)], strict=True))

    def offset(self, line: int, character: int) -> int:
        """Return the offset of a position. Too far right is the end of the line, too far down the end of the text."""
        lines = self.lines()
        if line >= len(lines):
            return len(self.units)
        start, end = lines[line]
        offset = min(start + character, end)
        while self._within(offset):
            offset -= 1
        return offset

    def _within(self, offset: int) -> bool:
        """Return whether an offset is inside a character, where only a faulty client puts a position."""
        unit = self.units[offset : offset + 1]
        if not unit or offset == 0 or self.encoding == "utf-32":
            return False
        return unit >= "\udc00" and unit < "\ue000" if self.encoding == "utf-16" else "\x80" <= unit < "\xc0"

    def place(self, dice: random.Random) -> tuple[int, int]:
        """Return a random line and character, sometimes inside a character or far outside the text."""
        lines = self.lines()
        line = dice.randrange(len(lines))
        start, end = lines[line]
        character = dice.randint(0, end - start)
        if (chance := dice.random()) < 0.03:
            return dice.choice(FAR), dice.choice((0, 5, *FAR))
        return line, dice.choice(FAR) if chance < 0.08 else character

    def edit(self, dice: random.Random, room: int = 3000) -> dict[str, Any]:
        """Make a random change; return it in the protocol's form. Above ``room`` code units the text is replaced."""
        new = "".join(dice.choices(PIECES, k=dice.choice((0, 1, 1, 2, 4))))
        if len(self.units) > room or dice.random() < 0.01:
            new = "".join(dice.choices(PIECES, k=60))
            self.units = self.split(new)
            return {"text": new}
        one, other = self.place(dice), self.place(dice)
        if dice.random() < 0.8:
            other = (one[0], min(one[1] + dice.choice((0, 0, 1, 5)), FAR[0]))
        first, last = sorted((one, other))
        start, end = self.offset(*first), self.offset(*last)
        self.units = self.units[:start] + self.split(new) + self.units[max(start, end) :]
        places = ({"line": line, "character": character} for line, character in (first, last))
        return {"range": dict(zip(("start", "end"), places, strict=True)), "text": new}
