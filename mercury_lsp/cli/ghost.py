"""Draws code with ghost text on a terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.syntax import Syntax
from rich.text import Text

from mercury_lsp.engine.api import UNDECIDED

_CURSOR = "▏"
TAB_WIDTH = 4
_LEXERS = {"javascriptreact": "jsx", "typescriptreact": "tsx", "shellscript": "bash", "cuda-cpp": "cuda"}


def render_lines(
    before: str,
    ghost: str,
    after: str,
    first_number: int,
    styled: bool = True,
    color: Callable[[str], Text] = Text,
    rest: str = "",
) -> Text:
    """Draw numbered lines of code, with the suggestion `ghost` dimmed between `before` and `after`.

    first_number: the number of the first line. styled: whether the terminal has styles; if not, brackets mark the
    suggestion. A bar marks the cursor. color: gives colors to the code without the suggestion. rest: the part of a
    draft that may still change.
    """
    brackets = ("", "") if styled else ("⟦", "⟧")
    before, after = before.expandtabs(TAB_WIDTH), after.expandtabs(TAB_WIDTH)
    highlighted = color(before + after)
    code = Text(no_wrap=True, overflow="ellipsis").append_text(highlighted[: len(before)])
    code.append(_CURSOR, style="bold")
    if ghost or rest:
        code.append(f"{brackets[0]}{ghost.expandtabs(TAB_WIDTH)}", style="bright_black italic")
        code.append(rest.expandtabs(TAB_WIDTH), style="bright_black italic dim")
        code.append(brackets[1], style="bright_black italic")
    code.highlight_regex(UNDECIDED, style="bright_blue")
    code.append_text(highlighted[len(before) :])
    rows = code.split("\n", allow_blank=True)
    cursor_row, suggested_newlines = before.count("\n"), (ghost + rest).count("\n")
    for number, row in enumerate(rows):
        # A suggested line has no number yet.
        is_suggested = cursor_row < number <= cursor_row + suggested_newlines
        label = (
            ""
            if is_suggested
            else str(first_number + (number if number <= cursor_row else number - suggested_newlines))
        )
        rows[number] = Text.assemble((f"{label:>5} │ ", "bright_black"), row)
    return Text("\n").join(rows)


def highlight(code: str, language: str) -> Text:
    """Return code in the colors of its language, or without colors if the highlighter changes the text."""
    text = Syntax("", _LEXERS.get(language, language), theme="ansi_dark").highlight(code)[: len(code)]
    return text if text.plain == code else Text(code)
