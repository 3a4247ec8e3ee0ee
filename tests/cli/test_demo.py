"""The demo: a simulated user who accepts only suggestions that equal the author's text, and its screen."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from mercury_lsp.bench.editor import GhostText
from mercury_lsp.bench.scenes import Scene, scenes
from mercury_lsp.cli.demo import TypingDelays, matching_characters
from mercury_lsp.cli.demo_screen import PlainLines, Screen, View, render_result
from mercury_lsp.syntax.document import Document

TEXT = "total = add(first, second)\nshow(total)\n"
SCENE = Scene(Path("/sum.py"), TEXT, TEXT.index("add"), TEXT.index("\n"))
# The author has typed `add(` and the editor has added `)`.
PAIRED = TEXT[: SCENE.start] + "add()" + TEXT[SCENE.end :]
CURSOR = SCENE.start + 4


@pytest.mark.parametrize(
    ("text", "start", "end", "gain"),
    [
        ("add(first, second)", SCENE.start, SCENE.start, 18),
        ("add(first", SCENE.start, SCENE.start, 9),
        ("add(last, second)", SCENE.start, SCENE.start, 0),
        ("add(first, second)\nshow(total)", SCENE.start, SCENE.start, 0),
        ("", SCENE.start, SCENE.start, 0),
    ],
)
def test_only_suggestions_that_equal_the_authors_text_are_accepted(
    text: str, start: int, end: int, gain: int
) -> None:
    assert matching_characters(SCENE, SCENE.cut, GhostText(text, start, end, 1.0), SCENE.start) == gain


def test_a_bracket_added_by_the_editor_is_part_of_the_replaced_range() -> None:
    assert (
        matching_characters(SCENE, PAIRED, GhostText("first, second)", CURSOR, CURSOR + 1, 1.0), CURSOR) == 14
    )
    assert matching_characters(SCENE, PAIRED, GhostText("first, ", CURSOR, CURSOR + 1, 1.0), CURSOR) == 0


def test_typing_delays_are_realistic_and_reproducible() -> None:
    hands, again = TypingDelays(1.0), TypingDelays(1.0)
    seconds = [hands.key_seconds(key) for key in "return self.hits" * 20]
    assert seconds == [again.key_seconds(key) for key in "return self.hits" * 20]
    assert 0.06 < sorted(seconds)[len(seconds) // 2] < 0.12
    assert len(set(seconds)) > 300
    assert not any(TypingDelays(0.0).key_seconds(key) for key in "return")


def view(suggested: str, rest: str = "", tab: bool = False) -> View:
    document = Document("file:///sum.py", "", "python", 1, SCENE.cut)
    return View(document, SCENE.start, SCENE.start, suggested, rest, "keys pressed 3, saved 4", tab, ())


def drawn(width: int, no_color: bool, *views: View) -> str:
    output = io.StringIO()
    console = Console(
        file=output, force_terminal=True, width=width, height=20, no_color=no_color, color_system="truecolor"
    )
    screen = Screen(console)
    with screen.live:
        screen.begin(SCENE)
        for shown in views:
            screen.show(shown)
        screen.end(SCENE, [(SCENE.start + 4, SCENE.end)])
    return output.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_the_screen_shows_dim_drafts_then_ghost_text_and_the_tab_key() -> None:
    screen = drawn(80, False, view("add(", "first░"), view("add(first, second)", tab=True))
    assert re.search(r"\x1b\[3;90madd\(\x1b\[0m\x1b\[2;3;90mfirst\x1b\[0m\x1b\[2;3;94m░", screen)
    assert "total = ▏add(first, second)" in plain(screen) and " Tab " in plain(screen)
    assert "⟦" not in screen and "sum.py             add(first, second)  5 of 18 keys" in plain(screen)


def test_without_colors_brackets_mark_the_suggestion() -> None:
    screen = drawn(80, True, view("add(first, second)"))
    assert "total = ▏⟦add(first, second)⟧" in plain(screen)
    assert "add(⟦first, second)⟧  5 of 18 keys" in plain(screen)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", screen)


@pytest.mark.parametrize("width", [20, 30])
def test_the_cursor_is_visible_in_a_narrow_terminal(width: int) -> None:
    rows = plain(drawn(width, False, view("add(first, second)"))).splitlines()
    assert any("▏add(" in row for row in rows)
    assert all(len(row) <= width for row in rows)


def test_plain_lines_show_the_accepted_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines(Console(highlight=False, soft_wrap=True))
    lines.begin(SCENE)
    for shown in (view("add(1)"), view("add(first, second)", tab=True), view("wrong")):
        lines.show(shown)
    lines.end(SCENE, [])
    assert "    1 │ total = ▏⟦add(first, second)⟧" in capsys.readouterr().out.splitlines()


def test_the_result_is_the_whole_text_with_accepted_parts_marked() -> None:
    scene = scenes()[0]
    marked = render_result(scene, [(scene.start + 5, scene.start + 9)], False).plain
    assert "self.⟦hits⟧ + self.misses  20 of 23 keys" in marked


def test_after_an_interrupt_the_terminal_is_restored_and_no_process_remains(model: Path) -> None:
    """Send SIGINT to the whole process group, as Ctrl-C in a terminal does."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "MERCURY_MODEL": str(model), "TERM": "xterm-256color"}
    demo = subprocess.Popen(
        [sys.executable, "-m", "mercury_lsp", "demo"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    end = time.monotonic() + 60
    while b"keys pressed" not in seen and time.monotonic() < end:
        seen += os.read(controller, 1 << 16)
    os.killpg(demo.pid, signal.SIGINT)
    while demo.poll() is None or select.select([controller], [], [], 0.1)[0]:
        try:
            seen += os.read(controller, 1 << 16)
        except OSError:
            break
    os.close(controller)
    assert demo.wait(timeout=30) == 130
    assert b"Traceback" not in seen
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
