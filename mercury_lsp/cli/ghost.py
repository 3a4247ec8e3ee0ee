"""Code with ghost text in it, for a terminal. Knows nothing of where the text comes from."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

UNDECIDED = "░"  # what a draft has for each token that is not decided yet
_CURSOR = "▏"
_TAB = 4


def lines(
    before: str,
    ghost: str,
    after: str,
    first: int,
    styled: bool = True,
    color: Callable[[str], Text] = Text,
) -> Text:
    """Numbered lines of code, the first of them being number `first`, with dim text between `before` and `after`.

    Where nothing can be `styled`, a bar marks the cursor, and brackets what is suggested. `color`: gives code its
    colors, and is shown what stands there without what is suggested.
    """
    marks = ("", "") if styled else ("⟦", "⟧")
    before, after = before.expandtabs(_TAB), after.expandtabs(_TAB)
    there = color(before + after)
    code = Text(no_wrap=True, overflow="ellipsis").append_text(there[: len(before)])
    code.append(_CURSOR, style="bold")
    code.append(f"{marks[0]}{ghost.expandtabs(_TAB)}{marks[1]}" if ghost else "", style="bright_black italic")
    code.highlight_regex(UNDECIDED, style="bright_blue")
    code.append_text(there[len(before) :])
    rows = code.split("\n", allow_blank=True)
    cursor = before.count("\n")
    for number, row in enumerate(rows):
        # A line that is only suggested has no number yet.
        suggested = cursor < number <= cursor + ghost.count("\n")
        label = "" if suggested else str(first + (number if number <= cursor else number - ghost.count("\n")))
        rows[number] = Text.assemble((f"{label:>5} │ ", "bright_black"), row)
    return Text("\n").join(rows)
