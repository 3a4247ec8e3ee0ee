"""Errors that end a command with one sentence for the user, and functions that make such a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from reprlib import Repr

MAX_QUOTED_CHARACTERS = 80
_QUOTER = Repr()
_QUOTER.maxstring = _QUOTER.maxother = MAX_QUOTED_CHARACTERS


class Failure(Exception):
    """An error that ends the program: the message is one sentence for the user, `status` is the exit status."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


class BadUsage(Failure):
    """A command line that is wrong or makes no sense; the exit status is 2."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, status=2)


@contextmanager
def listening(place: str) -> Iterator[None]:
    """Turn an error of listening on an address, also on an invalid host name, into a `Failure` that names the place."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Failure(f"Cannot listen on {place}: {reason}.") from error


def quote(value: object) -> str:
    """Return any value as printable text on one line, bounded in length, time and depth."""
    try:
        text = _QUOTER.repr(value)
    except ValueError:
        # Python refuses to print an integer of more than 4,300 digits.
        text = "a number of thousands of digits"
    if len(text) > MAX_QUOTED_CHARACTERS:
        text = f"{text[:MAX_QUOTED_CHARACTERS]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
