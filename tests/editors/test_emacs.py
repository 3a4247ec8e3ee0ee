"""Emacs with the shipped mercury.el: ghost text through eglot and lsp-mode, and the byte-compilation of the file."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import DOTTED, LINE, ROOT
from .installs import Program
from .terminal import Terminal

pytestmark = pytest.mark.editors
MERCURY = ROOT / "editors/emacs/mercury.el"
COMMON = """(setq native-comp-jit-compilation nil native-comp-enable-subr-trampolines nil)
(setq inhibit-startup-screen t make-backup-files nil)
(load "{mercury}")
(setq mercury-command '({command}))
(setq mercury-settings '(:show_likelihood 0 :deadline_ms 60000 :history_days 0))
"""
EGLOT = """(mercury-setup-eglot '(python-base-mode))
(add-hook 'python-base-mode-hook #'eglot-ensure)
"""
LSP_MODE = """(load "lsp-mode-autoloads")  ; as package.el does of what it installed
(setq lsp-auto-guess-root t lsp-enabled-clients '(mercury))
(require 'lsp-mode)
(mercury-setup-lsp-mode)
(with-eval-after-load 'lsp-inline-completion
  (keymap-set lsp-inline-completion-active-map "C-c C-a" #'lsp-inline-completion-accept))
(add-hook 'python-base-mode-hook #'lsp)
"""


def home(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), **{f"XDG_{name}_HOME": str(folder) for name in ("CONFIG", "CACHE", "STATE")}}


def type_and_save(
    terminal: Terminal, emacs: Program, project: Path, server: list[str], client: str, accept: tuple[str, ...]
) -> None:
    """Type in a real file, accept the ghost text, and compare the saved line with the ghost text."""
    path = project / "expiring_cache.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    init = project.parent / "init.el"
    command = " ".join(map(json.dumps, server))
    init.write_text(COMMON.format(mercury=MERCURY, command=command) + client, encoding="utf-8")
    terminal.start(emacs, "-nw", "-Q", "-l", str(init), path.name, cwd=project, env=home(project.parent))
    terminal.until(lambda screen: "eglot:" in screen or "LSP" in screen, "the client")
    terminal.press("M-g", "g")
    terminal.type(str(LINE))
    terminal.press("Enter", "M-m", "C-k")
    terminal.type(DOTTED)

    def ghost(screen: str) -> list[str]:
        shown = [line.strip() for line in screen.splitlines()]
        return [
            line
            for line in shown
            if line.startswith(DOTTED) and line not in (DOTTED, lines[LINE - 2].strip())
        ]

    def asked(screen: str) -> list[str]:
        """Type the last key again until there is ghost text: while the model loads, eglot requests once per key."""
        if not (found := ghost(screen)):
            terminal.press("BSpace")
            terminal.type(DOTTED[-1])
            time.sleep(3)
        return found

    seen = ghost(terminal.until(asked, "the suggestion"))[0]
    terminal.save("emacs-eglot" if client is EGLOT else "emacs-lsp-mode")
    terminal.press(*accept, "C-x", "C-s")
    terminal.until(lambda screen: "Wrote" in screen, "the file being written")
    saved = path.read_text(encoding="utf-8").splitlines()
    assert saved[: LINE - 1] == lines[: LINE - 1]
    assert saved[LINE - 1] == "        " + seen
    assert saved[LINE:] == lines[LINE:]


def test_ghost_text_is_accepted_with_eglot(
    terminal: Terminal, emacs: Program, project: Path, server: list[str]
) -> None:
    type_and_save(terminal, emacs, project, server, EGLOT, ("Tab",))


def test_ghost_text_is_accepted_with_lsp_mode(
    terminal: Terminal, emacs: Program, project: Path, server: list[str]
) -> None:
    type_and_save(terminal, emacs, project, server, LSP_MODE, ("C-c", "C-a"))


def test_mercury_el_compiles_without_warnings(emacs: Program, tmp_path: Path) -> None:
    copy = tmp_path / MERCURY.name
    copy.write_text(MERCURY.read_text(encoding="utf-8"), encoding="utf-8")
    strict = "(setq byte-compile-error-on-warn t native-comp-jit-compilation nil)"
    command = [*emacs.command, "-Q", "--batch", "--eval", strict, "-f", "batch-byte-compile", str(copy)]
    env = {**os.environ, **emacs.env, **home(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
