"""Helix with the shipped configuration: the suggestion is an entry of the menu, and accepted as shown there."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from .conftest import DOTTED, LINE, ROOT, SETTINGS
from .installs import Program
from .terminal import Terminal

pytestmark = pytest.mark.editors
# Matches an entry of the menu, after a line number.
ENTRY = re.compile(r"^.{5}[^\S\n]+(?!return )(\S.*?) +text\b", re.MULTILINE)
SHIPPED = (ROOT / "editors/helix/languages.toml").read_text(encoding="utf-8")


def open_file(terminal: Terminal, helix: Program, folder: Path, file: str, server: list[str]) -> None:
    """Open a file with the shipped configuration, in which this checkout's server is the only one."""
    options = ", ".join(f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items())
    text = SHIPPED.replace('command = "mercury-lsp"', f"command = {json.dumps(server[0])}")
    text = text.replace('args = ["--stdio"]', f"args = {json.dumps(server[1:])}")
    text = re.sub(r"config = \{.*?\}", lambda _: f"config = {{ {options} }}", text)
    text = text.replace('["pylsp", "mercury"]', '["mercury"]')
    home = folder.parent / "home"
    (home / "helix").mkdir(parents=True)
    (home / "helix/languages.toml").write_text(text, encoding="utf-8")
    env = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
    }
    terminal.start(helix, file, cwd=folder, env=env)
    terminal.until(lambda screen: "NOR" in screen, "Helix")


def test_the_suggestion_is_accepted_from_the_menu(
    terminal: Terminal, helix: Program, project: Path, server: list[str]
) -> None:
    path = project / "expiring_cache.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    open_file(terminal, helix, project, path.name, server)
    terminal.type(f":{LINE}")
    terminal.press("Enter")
    # Go to the first character of the line and select the rest of the line.
    terminal.type("gst$")
    terminal.press("Escape")
    terminal.type("gsvglc" + DOTTED)

    def asked(screen: str) -> re.Match[str] | None:
        """Type the dot again until the menu has the entry: while the model loads, Helix requests once, at the dot."""
        if not (found := ENTRY.search(screen)):
            terminal.press("BSpace")
            terminal.type(DOTTED[-1])
            time.sleep(3)
        return found

    label = ENTRY.search(terminal.until(asked, "the suggestion in the menu"))
    terminal.save("helix")
    assert label is not None
    terminal.press("Tab")
    terminal.press("Enter", "Escape")
    terminal.type(":w")
    terminal.press("Enter")
    terminal.until(lambda screen: "written" in screen, "the file being written")
    saved = path.read_text(encoding="utf-8").splitlines()
    assert saved == [*lines[: LINE - 1], "        " + DOTTED + label[1], *lines[LINE:]]


RENAMED = "def spent(count, price):\n    total = count * price\n    return total, count\n\n\nx = 'count'\n"


def test_next_edits_are_applied_as_code_actions(
    terminal: Terminal, helix: Program, project: Path, server: list[str]
) -> None:
    path = project / "renamed.py"
    path.write_text(RENAMED, encoding="utf-8")
    open_file(terminal, helix, project, path.name, server)

    def answered(screen: str) -> bool:
        """Return whether the server answers: changes before it has the document are not edits for it."""
        terminal.type(" a")
        time.sleep(1)
        return "No code actions" in screen

    terminal.until(answered, "an answer of the server")
    terminal.type("ggf(lecamount")
    terminal.press("Escape")
    terminal.until(lambda screen: "spent(amount, price)" in screen, "the new name")
    for line in (2, 3):
        title = f"Apply next edit in line {line}: count → amount"

        def offered(screen: str, title: str = title) -> bool:
            """Request code actions again: there are none before Helix has sent the change to the server."""
            if title in screen:
                return True
            terminal.press("Escape")
            terminal.type(" a")
            time.sleep(1)
            return False

        terminal.until(offered, title)
        terminal.press("Enter")
        terminal.until(lambda screen, line=line: screen.count("amount") >= line, "the edit")
    terminal.type(":w")
    terminal.press("Enter")
    terminal.until(lambda screen: "written" in screen, "the file being written")
    expected = RENAMED.replace("count", "amount").replace("'amount'", "'count'")
    assert path.read_text(encoding="utf-8") == expected
