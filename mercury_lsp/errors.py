"""Errors that end a command with one sentence for the user, and how that sentence quotes a value."""

from __future__ import annotations

from reprlib import Repr

QUOTED_CHARACTERS = 80
_QUOTER = Repr()
_QUOTER.maxstring = _QUOTER.maxother = QUOTED_CHARACTERS


class Failure(Exception):
    """Ends the program: the message is one clear sentence for the user, `status` the exit status."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


class BadUsage(Failure):
    """What was asked for makes no sense."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, status=2)


def quoted(value: object) -> str:
    """A value as a sentence shows it: one line, bounded in length, time and depth, whatever the value is."""
    try:
        quoted = _QUOTER.repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        quoted = "a number of thousands of digits"
    if len(quoted) > QUOTED_CHARACTERS:
        quoted = f"{quoted[:QUOTED_CHARACTERS]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in quoted)
