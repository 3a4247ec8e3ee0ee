"""Kills programs that the server or its commands have started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and its children, which would keep its pipe open, and wait for its end.

    The program must have been started with ``start_new_session=True``, and its end must not have been seen yet, so
    that its number is still its own. On Windows only the program itself is killed.
    """
    with suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
