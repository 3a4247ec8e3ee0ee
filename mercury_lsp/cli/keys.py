"""Reads single keys from a terminal, without Return, on each system."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

END = ""  # there will be no more keys

if sys.platform == "win32":
    import msvcrt

    @contextmanager
    def keys() -> Iterator[Callable[[], str]]:
        """What waits for the next key that has a character, while it is open. Raises `KeyboardInterrupt`."""

        def key() -> str:
            pressed = msvcrt.getwch()
            if pressed == "\x03":
                raise KeyboardInterrupt
            if pressed in "\x00\xe0":  # an arrow, or the like: two parts
                msvcrt.getwch()
                return key()
            return pressed

        yield key

else:
    import termios
    import tty

    @contextmanager
    def keys() -> Iterator[Callable[[], str]]:
        """What waits for the next key, while it is open; the terminal is then as it was. `END` where it is gone."""
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor)  # Ctrl-C stays a signal
        try:
            yield lambda: sys.stdin.read(1)
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
