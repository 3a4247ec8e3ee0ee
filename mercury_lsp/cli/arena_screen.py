"""Draws the arena on a terminal (a place, two answers, and the figures at the end) and reads single keys.

Before the user's choice, the screen does not show which model wrote an answer or how long the answer took.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from mercury_lsp.arena.contestants import ContestantAnswer
from mercury_lsp.arena.edits import Edit
from mercury_lsp.arena.matches import TIE_SHARE
from mercury_lsp.cli import ghost
from mercury_lsp.cli.stats import draw_bar, format_number, make_table
from mercury_lsp.syntax.document import plain

# The key at the end of the input.
END_OF_INPUT = ""
KEYS = {"1": "1", "2": "2", "=": "tie", "0": "neither", "s": "skip", "q": None}
"""The choice for each key; None quits."""
_CHOICES = tuple(zip(KEYS, ("first", "second", "as good", "neither", "skip", "quit"), strict=True))
# Lines of the file that are shown around the place.
ABOVE, BELOW = 8, 4
# Lines that are shown above an answer.
_LINES_ABOVE_ANSWER = 1


def render_place(
    edit: Edit, one: ContestantAnswer, two: ContestantAnswer, place_number: int
) -> RenderableType:
    """Draw the place with its cursor, and below it both answers as ghost text."""
    file = _render_code(edit, "", len(edit.prefix), ABOVE, BELOW)
    panels = [Panel(file, title=f"{place_number}   {edit.path}", title_align="left")]
    for label, answer in (("1", one), ("2", two)):
        text = Text("nothing", style="bright_black italic")
        if answer.shown:
            text = _render_code(edit, plain(answer.shown), answer.end, _LINES_ABOVE_ANSWER, 0)
        panels.append(Panel(text, title=label, title_align="left", border_style="cyan"))
    return Group(*panels, Text.from_markup("   ".join(f"[bold]{key}[/] {name}" for key, name in _CHOICES)))


def _render_code(edit: Edit, shown: str, end: int, above: int, below: int) -> Text:
    before, after = plain(edit.prefix), plain(edit.suffix[end - len(edit.prefix) :])
    lines = before.split("\n")
    top = max(0, len(lines) - 1 - above)
    above_cursor, below_cursor = "\n".join(lines[top:]), "\n".join(after.split("\n")[: below + 1])
    code = ghost.render_lines(
        above_cursor, shown, below_cursor, top + 1, color=lambda code: ghost.highlight(code, edit.language)
    )
    # A wrapped line would look like two lines.
    code.no_wrap, code.overflow = True, "ellipsis"
    return code


def render_figures(standings: Mapping[str, Any]) -> RenderableType:
    """Draw the figures of `standings` as tables and sentences."""
    win_table = make_table("contestant", "rating", "95%", "win rate", "", "95%", "won", "lost", "tied")
    answer_table = make_table(
        "contestant", "p50 ms", "p95 ms", "tokens/pass", "shown", "automatic", "exact", "start"
    )
    for name, contestant in standings["contestants"].items():
        low, high = contestant["interval"] or ("-", "-")
        rate = contestant["win_rate"]
        win_table.add_row(
            name,
            f"{contestant['rating']}",
            f"{low} to {high}",
            format_number(rate, ".1%"),
            draw_bar(rate or 0.0),
            "{:.0%} to {:.0%}".format(*contestant["win_rate_interval"]),
            *(f"{contestant[kind]}" for kind in ("wins", "losses", "ties")),
        )
        answer_table.add_row(
            name,
            *(format_number(contestant["ms"][percent], ",.0f") for percent in ("p50", "p95")),
            format_number(contestant["tokens_per_pass"], ".2f"),
            *(
                format_number(contestant[kind], ".0%")
                for kind in ("shown", "shown_unasked", "exact", "shared")
            ),
        )
    lines: list[RenderableType] = [win_table, "", answer_table, ""]
    lines += [
        f"{pair['one']} against {pair['two']}: won {pair['wins']}, lost {pair['losses']}, tied {pair['ties']}, "
        f"of which {pair['same']} with the same text"
        for pair in standings["pairs"]
        if len(standings["pairs"]) > 1
    ]
    lines.append(
        f"{standings['comparisons']} comparisons at {standings['places']} places; "
        f"{standings['same']} with the same text, {standings['neither']} with no good suggestion, "
        f"{standings['skipped']} skipped."
        "\nshown: a suggestion fitted; automatic: the suggestion was likely enough for an automatic request; exact: "
        "the suggestion equals the original text; start: the share of the original text before the first difference."
    )
    if standings["judge"] == "truth":
        lines.append(
            "Judged by the original text: an exact suggestion wins, otherwise the longer start; a difference below "
            f"{TIE_SHARE:.0%} is a tie."
        )
    elif first := standings["shown_first"]:
        low, high = first["interval"]
        lines.append(
            f"The first suggestion was chosen {first['share']:.0%} of {first['chosen']} times "
            f"(95%: {low:.0%} to {high:.0%}); without bias, the share is half."
        )
    return Group(*lines)


if sys.platform == "win32":
    import msvcrt

    @contextmanager
    def open_keyboard() -> Iterator[Callable[[], str]]:
        """Yield a function that waits for the next character key. The function raises `KeyboardInterrupt` at Ctrl-C."""

        def read_key() -> str:
            pressed = msvcrt.getwch()
            if pressed == "\x03":
                raise KeyboardInterrupt
            # An arrow or function key comes in two parts.
            if pressed in "\x00\xe0":
                msvcrt.getwch()
                return read_key()
            return pressed

        yield read_key

else:
    import termios
    import tty

    @contextmanager
    def open_keyboard() -> Iterator[Callable[[], str]]:
        """Yield a function that waits for the next key, and restore the terminal's mode at the end of the block.

        The function returns `END_OF_INPUT` at the end of the input.
        """
        descriptor = sys.stdin.fileno()
        old_mode = termios.tcgetattr(descriptor)
        # Unlike raw mode, cbreak mode leaves Ctrl-C a signal.
        tty.setcbreak(descriptor)
        try:
            yield lambda: sys.stdin.read(1)
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, old_mode)
