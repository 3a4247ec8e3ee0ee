"""Helix, with the shipped configuration: the suggestion is in the menu, and is inserted as it stands there."""

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
ENTRY = re.compile(
    r"^.{5}[^\S\n]+(?!return )(\S.*?) +text\b", re.MULTILINE
)  # of the menu, behind a line's number
SHIPPED = (ROOT / "editors/helix/languages.toml").read_text(encoding="utf-8")


def begin(terminal: Terminal, helix: Program, folder: Path, file: str, server: list[str]) -> None:
    """Open a file with the shipped configuration, but with this checkout's server, alone."""
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


def test_the_suggestion_is_in_the_menu_and_is_accepted(
    terminal: Terminal, helix: Program, project: Path, server: list[str]
) -> None:
    path = project / "expiring_cache.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    begin(terminal, helix, project, path.name, server)
    terminal.type(f":{LINE}")
    terminal.press("Enter")
    terminal.type("gst$")  # behind the indentation, then all to the line's end is selected
    terminal.press("Escape")
    terminal.type("gsvglc" + DOTTED)

    def asked(screen: str) -> re.Match[str] | None:
        """Helix asks once, at the dot: while the model is loading, it is typed again. Words are its own."""
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


def test_the_next_edit_is_a_code_action(
    terminal: Terminal, helix: Program, project: Path, server: list[str]
) -> None:
    path = project / "renamed.py"
    path.write_text(RENAMED, encoding="utf-8")
    begin(terminal, helix, project, path.name, server)

    def answered(screen: str) -> bool:
        """What is typed before the server has the document is no edit."""
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
            """Helix asks once; before it has told the server of the change, there is nothing."""
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
