"""A real terminal for the editors that run in one: it takes keys, and its screen is what a user sees.

The terminal is tmux. Screens are saved as text and as a picture. Knows nothing of editors.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from .installs import Program

# Seconds after which a test counts as stuck; no test measures time with it.
PATIENCE = 120.0
# Seconds between two keys.
PAUSE = 0.03


class Terminal:
    """One editor in a terminal of ``columns`` by ``rows`` characters. Screens are saved in the folder ``artifacts``."""

    def __init__(self, tmux: Program, artifacts: Path, columns: int = 100, rows: int = 28) -> None:
        self._tmux = [*tmux.command, "-u", "-L", f"mercury-{os.getpid()}-{time.time_ns()}", "-f", "/dev/null"]
        self._env = {**os.environ, **tmux.env, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        self._env.pop("TMUX", None)
        self._size = (columns, rows)
        self.artifacts = artifacts

    def start(
        self, program: Program, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
    ) -> None:
        """Run a program in the terminal, until `close`."""
        both = {**program.env, **(env or {}), "COLORTERM": "truecolor", "TERM": "tmux-256color"}
        told = ["env", *(f"{name}={value}" for name, value in both.items()), *program.command, *arguments]
        columns, rows = map(str, self._size)
        self._run("new-session", "-d", "-x", columns, "-y", rows, "-c", str(cwd), shlex.join(told))
        # The last output remains readable after the program ends.
        self._run("set-option", "-g", "remain-on-exit", "on")
        self._run("set-option", "-g", "escape-time", "0")
        self._run("set-option", "-ga", "terminal-overrides", ",*:Tc")

    def type(self, text: str) -> None:
        """Type a text key by key."""
        for key in text:
            self._run("send-keys", "-l", key if key != ";" else r"\;")
            time.sleep(PAUSE)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names, such as `Tab`, `Escape`, `C-Right` and `M-l`."""
        for key in keys:
            self._run("send-keys", key)
            time.sleep(PAUSE)

    @property
    def screen(self) -> str:
        """The text on the screen."""
        return self._run("capture-pane", "-p")

    def until(self, holds: Callable[[str], object], what: str) -> str:
        """Wait until a condition holds for the screen; return it. After `PATIENCE`, save the screen and fail."""
        end = time.monotonic() + PATIENCE
        while not holds(screen := self.screen):
            if time.monotonic() > end:
                self.save("failed-" + re.sub(r"\W+", "-", what))
                raise AssertionError(f"Never seen: {what}. The screen at last:\n{screen}")
            time.sleep(0.1)
        return screen

    def save(self, name: str) -> None:
        """Save the screen as NAME.txt, and as a picture, NAME.svg."""
        self.artifacts.mkdir(parents=True, exist_ok=True)
        (self.artifacts / f"{name}.txt").write_text(self.screen, encoding="utf-8")
        svg = drawn(self._run("capture-pane", "-p", "-e"), self._size[0], name)
        (self.artifacts / f"{name}.svg").write_text(svg, encoding="utf-8")

    def close(self) -> None:
        """End the terminal and the programs in it."""
        subprocess.run([*self._tmux, "kill-server"], env=self._env, capture_output=True, check=False)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], env=self._env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"The terminal is gone: {done.stderr.strip()}")
        return done.stdout


def drawn(screen: str, columns: int, title: str) -> str:
    """Return a screen with its colors as SVG, without rich's reference to a web font."""
    console = Console(
        record=True, width=columns, file=io.StringIO(), color_system="truecolor", legacy_windows=False
    )
    console.print(Text.from_ansi(screen.rstrip("\n")), no_wrap=True, crop=True)
    return re.sub(r"\s*@font-face \{.*?\}", "", console.export_svg(title=title), flags=re.DOTALL)
