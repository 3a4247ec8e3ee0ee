"""Reads the key of a hosted model from an environment variable, or from a program's output.

The key never appears in a log, an error, a status or a `repr`. It is read when it is first needed.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from threading import Lock, Thread

from mercury_lsp.errors import quote
from mercury_lsp.programs import kill
from mercury_lsp.remote.address import RemoteError

# The program may ask the user for a fingerprint.
PROGRAM_SECONDS = 10.0
MAX_KEY_CHARACTERS = 8192
# The key is in the first line; password managers print notes in the lines below.
MAX_OUTPUT_BYTES = 65_536


class Key:
    """One key, or none.

    It is the output of `command`, a program and its arguments, or without one the value of the environment's
    `variable`.
    """

    def __init__(
        self, variable: str, command: tuple[str, ...] = (), environment: Mapping[str, str] = os.environ
    ) -> None:
        self._variable, self._command, self._environment = variable, command, environment
        self._loaded = False
        self._value = ""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Key from {self.source}>"

    @property
    def source(self) -> str:
        """A description of the key's source for messages."""
        if self._command:
            return f"the program {quote(self._command[0])} (remote_key_command)"
        return f"the environment variable {self._variable} (remote_key_env)"

    @property
    def known(self) -> str | None:
        """The key, or "" if there is none; None if it has not been read."""
        return self._value if self._loaded else None

    def read(self) -> str:
        """Return the key, or "" if there is none. May take `PROGRAM_SECONDS` the first time. Raises `RemoteError`."""
        with self._lock:
            if not self._loaded:
                self._value, self._loaded = self._load(), True
            return self._value

    def renew(self) -> bool:
        """Run the program again after the key was refused, and return whether the key changed. Raises `RemoteError`."""
        if not self._command:
            return False
        with self._lock:
            old, self._loaded = self._value, False
        return self.read() not in ("", old)

    def _load(self) -> str:
        text = _program_output(self._command) if self._command else self._environment.get(self._variable, "")
        lines = text.strip().splitlines()
        value = lines[0].strip() if lines else ""
        if self._command and not value:
            raise RemoteError(f"{self.source[:1].upper()}{self.source[1:]} prints no key.")
        plain = value.isascii() and (value + "x").isprintable() and " " not in value
        if not plain or len(value) > MAX_KEY_CHARACTERS:
            raise RemoteError(f"What {self.source} holds is no key: a key is one word of plain characters.")
        return value


def _program_output(command: tuple[str, ...]) -> str:
    """Return the output of a program. Raises `RemoteError`.

    It runs without input or shell, for at most `PROGRAM_SECONDS`, and prints at most `MAX_OUTPUT_BYTES`.
    """
    null, program = subprocess.DEVNULL, f"The program {quote(command[0])} (remote_key_command)"
    end = time.monotonic() + PROGRAM_SECONDS
    try:
        process = subprocess.Popen(
            command, stdin=null, stdout=subprocess.PIPE, stderr=null, start_new_session=True
        )
    except (OSError, ValueError):
        raise RemoteError(f"{program} cannot be run.") from None
    output: list[bytes] = []
    # A thread, because a pipe cannot be read with a time limit on every platform.
    reader = Thread(target=_read_start, args=(process, output), daemon=True)
    reader.start()
    reader.join(PROGRAM_SECONDS)
    text = b"".join(output)
    problem = ""
    if len(text) > MAX_OUTPUT_BYTES:
        problem = f"prints more than {MAX_OUTPUT_BYTES:,} bytes, which is no key"
    elif reader.is_alive() or not _has_ended(process, end - time.monotonic()):
        problem = f"has not ended within {PROGRAM_SECONDS:g} s"
    if problem:
        kill(process)
        raise RemoteError(f"{program} {problem}.")
    if process.returncode:
        raise RemoteError(f"{program} failed with status {process.returncode}.")
    return text.decode(errors="replace")


def _read_start(process: subprocess.Popen[bytes], output: list[bytes]) -> None:
    """Append what a program prints, at most a byte more than is allowed, and close the pipe."""
    assert process.stdout is not None
    with process.stdout as pipe:
        output.append(pipe.read(MAX_OUTPUT_BYTES + 1))


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a program, and return whether it came in time."""
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return False
    return True
