"""A real VS Code with the packaged extension."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, sync_playwright

from . import installs
from .conftest import LINE, SETTINGS, TYPED, installed
from .vscode import ASK, NEXT, PREVIOUS, CodeServer, Window, package, servers, until

pytestmark = pytest.mark.editors

# A word of the server's command, by which its process is found.
MARKER = "-Wignore::mercury"
FILE = "expiring_cache.py"
MASK = "░"

Open = Callable[..., Window]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = installed(installs.chromium)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def code_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeServer]:
    program, node = installed(installs.code_server), installed(installs.node)
    served = CodeServer(program, tmp_path_factory.mktemp("code-server"))
    served.install(package(node, tmp_path_factory.mktemp("extension")))
    try:
        # There is no server on this PATH.
        served.start({"PATH": f"{node}:/usr/bin:/bin"})
        yield served
    finally:
        served.stop()


@pytest.fixture
def command(server: list[str]) -> list[str]:
    """Return the server's command with the marker."""
    at = server.index(sys.executable) + 1
    return [*server[:at], MARKER, *server[at:]]


@pytest.fixture
def window(
    browser: Browser, code_server: CodeServer, command: list[str], project: Path, artifacts: Path
) -> Iterator[Open]:
    """Return a function that opens windows of the project, with settings of the server and of VS Code."""
    opened: list[Window] = []

    def open_(
        settings: dict[str, object] | None = None,
        others: dict[str, object] | None = None,
        size: tuple[int, int] = (900, 560),
    ) -> Window:
        ours: dict[str, object] = {"server.command": command, **SETTINGS, **(settings or {})}
        code_server.configure({f"mercury.{name}": value for name, value in ours.items()} | (others or {}))
        opened.append(Window(browser, code_server.address(project), artifacts, size))
        return opened[-1]

    yield open_
    for made in opened:
        if "PYTEST_CURRENT_TEST" in os.environ:
            made.picture(
                re.sub(r"\W+", "-", f"end-{os.environ['PYTEST_CURRENT_TEST'].split('::')[1].split()[0]}")
            )
        made.close()
    until(lambda: not servers(MARKER), "the end of the servers of closed windows")


@pytest.fixture
def plain(project: Path) -> str:
    """Return the content of the file before anything is typed."""
    return (project / FILE).read_text(encoding="utf-8")


def with_line(plain: str, line: str) -> str:
    """Return the file's content with another text, after the indentation, in the line where the tests type."""
    lines = plain.splitlines(keepends=True)
    old = lines[LINE - 1]
    indent = old[: len(old) - len(old.lstrip())]
    lines[LINE - 1] = f"{indent}{line}\n"
    return "".join(lines)


def test_ghost_text_is_shown_and_accepted(window: Open, project: Path, plain: str) -> None:
    made = window()
    made.open(FILE, "Python")
    # The model is loaded, so that the latency does not include that.
    made.await_status(r"Mercury$")
    made.rewrite(LINE, TYPED)
    ghost = made.await_ghost(TYPED)
    made.await_status(r"Mercury \d+(\.\d)? ms")
    made.picture("ghost")
    made.press("Tab")
    # Another suggestion may follow.
    until(lambda: made.ghost != ghost, "the end of the ghost text")
    assert made.save(project / FILE) == with_line(plain, TYPED + ghost)


def test_ghost_text_can_be_accepted_by_word_or_by_line(window: Open, project: Path, plain: str) -> None:
    made = window({"multiline": "always"})
    made.open(FILE, "Python")
    for typed in ("while self.", "if self.", "raise ", TYPED):
        made.rewrite(LINE, typed)
        ghost = made.await_ghost(typed)
        # The ghost text has more than one word.
        if re.search(r"\w\W+\w", ghost):
            break
    made.press("Control+ArrowRight")
    text = until_changed(made, project / FILE, with_line(plain, typed))
    word = text.splitlines()[LINE - 1].strip().removeprefix(typed)
    assert word and len(word) < len(ghost) and ghost.startswith(word)
    ghost = made.await_ghost(typed + word)
    made.press("Control+End")
    line = until_changed(made, project / FILE, text).splitlines()[LINE - 1].strip()
    assert line == typed + word + ghost.split("\n")[0]


def until_changed(made: Window, file: Path, old: str) -> str:
    """Save the file until its content differs from ``old``; return the content."""
    until(lambda: made.save(file) != old, "a change of the file")
    return made.save(file)


def test_typing_along_the_ghost_text_keeps_its_rest(window: Open) -> None:
    made = window()
    made.open(FILE, "Python")
    made.rewrite(LINE, TYPED)
    ghost = made.await_ghost(TYPED)
    assert len(ghost) > 1
    for typed in range(1, len(ghost.split("\n")[0])):
        made.type(ghost[typed - 1])
        until(lambda typed=typed: made.ghost == ghost[typed:], f"{ghost[typed:]!r}, not {made.ghost!r}", 30)


def test_the_user_can_cycle_through_several_suggestions(window: Open) -> None:
    made = window()
    made.open(FILE, "Python")
    made.rewrite(LINE, "return ")
    first = made.await_ghost("return ")
    seen = [first]
    made.press(NEXT)
    until(lambda: made.ghost not in ("", first), "another suggestion")
    seen.append(made.ghost)
    made.picture("several")
    made.press(PREVIOUS)
    until(lambda: made.ghost == first, "the first suggestion again")


def test_a_killed_server_is_started_again(window: Open, project: Path, plain: str) -> None:
    made = window()
    made.open(FILE, "Python")
    until(lambda: servers(MARKER), "the server")
    made.await_status(r"Mercury")
    (old,) = servers(MARKER)
    made.rewrite(LINE, TYPED)
    made.await_ghost(TYPED)
    os.kill(old, signal.SIGKILL)
    until(lambda: servers(MARKER) not in ([], [old]), "another server")
    made.press("Escape")
    made.rewrite(LINE, TYPED)
    ghost = made.await_ghost(TYPED)
    made.press("Tab")
    # Another suggestion may follow.
    until(lambda: made.ghost != ghost, "the end of the ghost text")
    assert made.save(project / FILE) == with_line(plain, TYPED + ghost)


def test_nothing_is_suggested_in_a_private_file(window: Open) -> None:
    made = window()
    made.open(FILE, "Python")
    made.rewrite(LINE, TYPED)
    # The server suggests in other files.
    made.await_ghost(TYPED)
    made.open(".env", "")
    made.press("Control+End")
    made.type("PASSWORD=")
    made.press(ASK)
    # This is answered after the request above.
    made.command("Mercury: Explain Why Nothing Is Suggested Here")
    made.notification("Nothing is suggested in this document")
    assert not made.ghost
    made.picture("secrets")


def test_suggestions_in_a_language_can_be_paused_from_the_menu(window: Open, code_server: CodeServer) -> None:
    made = window()
    made.open(FILE, "Python")
    made.rewrite(LINE, TYPED)
    made.await_ghost(TYPED)
    made.press("Escape")
    made.status.click()
    made.page.locator(".quick-input-list .monaco-list-row", has_text="Pause in python").wait_for()
    made.picture("menu")
    made.page.locator(".quick-input-list .monaco-list-row", has_text="Pause in python").click()
    made.await_status("not in python")
    until(lambda: '"python"' in code_server.settings_file.read_text(encoding="utf-8"), "the setting")
    made.command("Mercury: Explain Why Nothing Is Suggested Here")
    made.notification("Nothing is suggested in this document")


def test_the_users_own_settings_file_applies_if_the_editor_sets_nothing(
    window: Open, command: list[str], tmp_path: Path
) -> None:
    own = tmp_path / "mercury-lsp" / "config.json"
    own.parent.mkdir()
    own.write_text('{"disabled_languages": ["python"]}', encoding="utf-8")
    reading = [command[0], f"XDG_CONFIG_HOME={tmp_path}", *command[1:]]
    made = window({"server.command": reading})
    made.open(FILE, "Python")
    made.await_status(r"Mercury$")
    made.rewrite(LINE, TYPED)
    made.command("Mercury: Explain Why Nothing Is Suggested Here")
    made.notification("Nothing is suggested in this document")


def test_suggestions_can_be_paused_and_resumed_from_the_menu(window: Open) -> None:
    made = window()
    made.await_status(r"Mercury$")
    for row, after in (("Pause for Ten Minutes", r"until \d"), ("Resume Suggestions", r"Mercury$")):
        made.status.click()
        made.page.locator(".quick-input-list .monaco-list-row", has_text=row).click()
        made.await_status(after)


@pytest.mark.parametrize("theme", ["Dark", "Light"])
def test_statistics_are_shown(window: Open, command: list[str], tmp_path: Path, theme: str) -> None:
    # A history of its own, without other events.
    own = ["env", f"XDG_STATE_HOME={tmp_path}", *command]
    made = window(
        {"history_days": 90, "server.command": own},
        {"workbench.colorTheme": f"Default {theme} Modern"},
        (1000, 900),
    )
    made.open(FILE, "Python")
    made.await_status(r"Mercury$")
    # The outcome of a suggestion is recorded when the next one ends.
    for _ in range(2):
        made.rewrite(LINE, TYPED)
        ghost = made.await_ghost(TYPED)
        made.press("Tab")
        until(lambda ghost=ghost: made.ghost != ghost, "the end of the ghost text")

    def counted() -> object:
        made.command("Mercury: Show Statistics")
        return re.search(r"[1-9]\d* of \d+ shown", made.webview("Suggestions"))

    until(counted, "the suggestion in the statistics")
    assert "accepted" in made.webview("median latency")
    made.picture(f"stats-{theme.lower()}")


def test_the_walkthrough_opens(window: Open) -> None:
    # In a smaller window there are no pictures.
    made = window(size=(1400, 800))
    made.await_status("Mercury")
    made.press("Control+B")
    made.command("Mercury: Get Started")
    made.page.locator(".getting-started", has_text="Get Started with Mercury").wait_for()
    step = made.page.locator(".getting-started-step", has_text="Accept the suggestion, a word or a line")
    step.click()
    made.page.locator(".getting-started-step.expanded", has_text="Accept the suggestion").wait_for()
    made.page.frame_locator("iframe.webview.ready").frame_locator("iframe#active-frame").locator(
        "svg"
    ).wait_for()
    made.picture("walkthrough")


def test_drafts_are_drawn_during_denoising_and_then_removed(window: Open) -> None:
    made = window({"drafts": True, "multiline": "always"})
    made.open(FILE, "Python")
    made.await_status(r"Mercury$")
    made.record()
    # A busy machine may draw no frame between two passes; the first of these takes several.
    for text in ("raise ", "while self.", "for ", "return not ", TYPED):
        made.rewrite(LINE, text)
        made.await_ghost(text)
        until(lambda: not made.decorations or made.decorations[-1] == "", "the end of the draft")
        if any(MASK in drawn for drawn in made.decorations):
            break
    assert any(MASK in drawn for drawn in made.decorations), made.decorations


def test_no_draft_is_drawn_by_default(window: Open) -> None:
    made = window({"multiline": "always"})
    made.open(FILE, "Python")
    made.record()
    made.rewrite(LINE, TYPED)
    made.await_ghost(TYPED)
    assert not any(made.decorations)


def test_a_missing_server_can_be_installed(window: Open, server: list[str], tmp_path: Path) -> None:
    wheel = tmp_path / "mercury_lsp-0.0.1-py3-none-any.whl"
    make_wheel(wheel, [*server[:-1]])
    python = {"server.python": sys.executable, "server.package": str(wheel)}
    made = window({"server.command": [], **python})
    made.await_status("not installed")
    made.notification("is not installed here").get_by_role("button", name="Install…").click()
    made.page.locator(".quick-input-list .monaco-list-row", has_text=wheel.name).wait_for()
    made.picture("install")
    made.press("Enter")
    made.await_status(r"Mercury$")
    made.open(FILE, "Python")
    made.rewrite(LINE, TYPED)
    assert made.await_ghost(TYPED)


def make_wheel(wheel: Path, command: list[str]) -> None:
    """Make a wheel whose program runs the server of this checkout; `test_release` installs the real wheel."""
    about = "Metadata-Version: 2.1\nName: mercury-lsp\nVersion: 0.0.1\n"
    files = {
        "installed_mercury.py": "import os, sys\n"
        f"def main():\n    command = {command!r} + sys.argv[1:]\n    os.execvp(command[0], command)\n",
        "mercury_lsp-0.0.1.dist-info/METADATA": about,
        "mercury_lsp-0.0.1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "mercury_lsp-0.0.1.dist-info/entry_points.txt": "[console_scripts]\nmercury-lsp = installed_mercury:main\n",
    }
    record = "mercury_lsp-0.0.1.dist-info/RECORD"
    with ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(record, "".join(f"{name},,\n" for name in [*files, record]))


RENAMED = "def spent(count, price):\n    total = count * price\n    return total, count\n\n\nx = 'count'\n"


def test_tab_applies_the_next_edits_of_a_renamed_parameter(window: Open, project: Path) -> None:
    file = project / "renamed.py"
    file.write_text(RENAMED, encoding="utf-8")
    made = window()
    made.open("renamed.py", "Python")
    made.await_status(r"Mercury$")
    made.record()
    made.rewrite(1, "def spent(amount, price):")
    made.press("Home")
    until(lambda: made.decorations and made.decorations[-1] == "amount", "the next edit")
    made.picture("next-edit")
    for line in (2, 3):
        until(lambda: made.decorations[-1] == "amount", "the next edit")
        made.press("Tab")
        made.page.locator(".statusbar-item", has_text=f"Ln {line}, ").wait_for()
        made.press("Tab")
        until(
            lambda line=line: made.decorations.count("amount") >= line or not made.decorations[-1],
            "the edit",
        )
    expected = RENAMED.replace("count", "amount").replace("'amount'", "'count'")
    until(lambda: made.save(file) == expected, "the whole rename")


# The real server, whose search finds one edit of several lines.
SEVERAL_LINES = """
import sys
from mercury_lsp.__main__ import main
from mercury_lsp.edits.search import Candidate
from mercury_lsp.lsp.handlers import next_edit

def find(syntax, edits, dismissed):
    start = syntax.document.text.find("b = 2")
    return [Candidate(start, start + 5, "b = 3\\nc = 4\\nd = 5", "rewrite", 1, "x")] if start >= 0 else []

next_edit.find_candidates = find
sys.argv = ["mercury-lsp", "--stdio"]
sys.exit(main())
"""


@pytest.mark.parametrize("eol", ["\r\n", "\n"])
def test_the_cursor_is_at_the_end_of_an_edit_of_several_lines(
    window: Open, project: Path, command: list[str], tmp_path: Path, eol: str
) -> None:
    (tmp_path / "server.py").write_text(SEVERAL_LINES, encoding="utf-8")
    file = project / "lines.py"
    file.write_bytes(eol.join(("a = 1", "b = 2", "z = 9", "")).encode())
    at = command.index("-m")
    made = window({"server.command": [*command[:at], str(tmp_path / "server.py"), "mercury_lsp"]})
    made.open("lines.py", "Python")
    made.await_status(r"Mercury$")
    made.record()
    made.rewrite(1, "a = 7")
    until(lambda: made.decorations and made.decorations[-1].endswith("↵"), "the next edit")
    for line in (2, 4):
        made.press("Tab")
        made.page.locator(".statusbar-item", has_text=f"Ln {line}, ").wait_for()
    made.type("0")
    expected = eol.join(("a = 7", "b = 3", "c = 4", "d = 50", "z = 9", ""))
    until(lambda: made.save(file) == expected, "the edit")


def test_a_dismissed_edit_does_not_come_back(window: Open, project: Path) -> None:
    (project / "renamed.py").write_text(RENAMED, encoding="utf-8")
    made = window()
    made.open("renamed.py", "Python")
    made.await_status(r"Mercury$")
    made.record()
    made.rewrite(1, "def spent(amount, price):")
    made.press("Home")
    until(lambda: made.decorations and made.decorations[-1] == "amount", "the next edit")
    made.press("Escape")
    until(lambda: made.decorations[-1] == "", "the end of the next edit")
    shown = len(made.decorations)
    made.press("Control+End")
    made.type("y = 1")
    made.page.wait_for_timeout(1000)
    assert "amount" not in made.decorations[shown:]
