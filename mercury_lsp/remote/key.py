"""The key of a hosted model: from an environment variable, or from what a program prints.

Owns the key, which is shown nowhere: not in a log, an error, a status or a `repr`. It is read when it is first needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock

from mercury_lsp.errors import quoted
from mercury_lsp.remote.address import RemoteError

SECONDS = 10.0  # that the program may take: it may ask for a fingerprint
LONGEST = 8192  # characters of a key


class Key:
    """One key, or none. `command` is a program and its arguments; without it, `variable` names the environment's."""

    def __init__(
        self, variable: str, command: tuple[str, ...] = (), environment: Mapping[str, str] = os.environ
    ) -> None:
        self._variable, self._command, self._environment = variable, command, environment
        self._read = False
        self._value = ""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Key from {self.source}>"

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        if self._command:
            return f"the program {quoted(self._command[0])} (remote_key_command)"
        return f"the environment variable {self._variable} (remote_key_env)"

    @property
    def known(self) -> str | None:
        """The key, or "" where there is none; None where it has not been read yet."""
        return self._value if self._read else None

    def read(self) -> str:
        """The key, or "" where there is none. May take `SECONDS` the first time. Raises `RemoteError`."""
        with self._lock:
            if not self._read:
                self._value, self._read = self._found(), True
            return self._value

    def renew(self) -> bool:
        """The key was refused: ask the program again. Whether there is another one now. Raises `RemoteError`."""
        if not self._command:
            return False
        with self._lock:
            old, self._read = self._value, False
        return self.read() not in ("", old)

    def _found(self) -> str:
        text = _printed(self._command) if self._command else self._environment.get(self._variable, "")
        lines = text.strip().splitlines()
        value = lines[0].strip() if lines else ""
        if self._command and not value:
            raise RemoteError(f"{self.source[:1].upper()}{self.source[1:]} prints no key.")
        if not (value.isascii() and (value + "x").isprintable() and " " not in value) or len(value) > LONGEST:
            raise RemoteError(f"What {self.source} holds is no key: a key is one word of plain characters.")
        return value


def _printed(command: tuple[str, ...]) -> str:
    """What a program prints. It has no input, no shell, and no more than `SECONDS`. Raises `RemoteError`."""
    null = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, stdin=null, stdout=subprocess.PIPE, stderr=null, start_new_session=True
        )
    except (OSError, ValueError):
        raise RemoteError(f"The program {quoted(command[0])} (remote_key_command) cannot be run.") from None
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(OSError):
            if sys.platform == "win32":
                process.kill()
            else:  # what it has started, too: that would keep the pipe open
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise RemoteError(
            f"The program {quoted(command[0])} (remote_key_command) has not ended within {SECONDS:g} s."
        ) from None
    if process.returncode:
        raise RemoteError(
            f"The program {quoted(command[0])} (remote_key_command) failed with status {process.returncode}."
        )
    return output.decode(errors="replace")
