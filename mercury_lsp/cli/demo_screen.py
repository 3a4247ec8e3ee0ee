"""Draws the demo: redrawn in place on a terminal, or as plain lines for each scene."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mercury_lsp.bench.scenes import Scene
from mercury_lsp.cli import ghost
from mercury_lsp.syntax.document import Document

# Lines to show above and below the cursor's line.
_ABOVE, _BELOW = 3, 1
# Columns of the line numbers.
_GUTTER = 8
# On a narrow terminal, columns to keep after the cursor for the suggestion.
_MIN_SUGGESTION_COLUMNS = 24


@dataclass(frozen=True, slots=True)
class View:
    """The view of an editor: a document with a suggestion in place of the text between two offsets.

    `rest`: the part of the suggestion that is only a draft. `tab`: the Tab key is being pressed. `accepted`: the ranges
    of the document that the model wrote.
    """

    document: Document
    start: int
    end: int
    suggested: str
    rest: str
    status: str
    tab: bool
    accepted: tuple[tuple[int, int], ...]


class Screen:
    """Output on a terminal, on which each view replaces the previous one while the screen is `live`."""

    def __init__(self, output: Console) -> None:
        self._output = output
        self.live = Live(console=output, auto_refresh=False, transient=True)
        self._title = Text()
        self._language = ""
        # An empty row below the results of earlier scenes.
        self._gap: list[Text] = []
        self.suggested = 0

    def begin(self, scene: Scene) -> None:
        """Begin a scene."""
        self._title = Text(f" {scene.path.name} ", style="reverse")
        self._language = scene.language_id

    def show(self, view: View) -> None:
        """Draw a view."""
        self.suggested += bool(view.suggested)
        key = Text(" Tab ", style="reverse bold green") if view.tab else Text("     ")
        status = Text.assemble(key, "  ", (view.status, "bright_black"), overflow="ellipsis", no_wrap=True)
        # Without colors, brackets distinguish a suggestion from the code.
        rows = render_code(view, self._language, not self._output.no_color)
        if shift := _shift(view, self._output.width):
            rows = [Text.assemble(row[:_GUTTER], row[_GUTTER + shift :]) for row in rows]
        frame = Text("\n", no_wrap=True, overflow="ellipsis").join(
            [*self._gap, self._title, *rows, Text(), status]
        )
        self.live.update(frame, refresh=True)

    def end(self, scene: Scene, accepted: Sequence[tuple[int, int]]) -> None:
        """Print the result of a scene above the live part of the screen."""
        self._output.print(
            render_result(scene, accepted, not self._output.no_color), no_wrap=True, overflow="ellipsis"
        )
        self._gap = [Text()]


class PlainLines:
    """Output that is not a terminal: for each scene the last accepted suggestion, or else the last suggestion."""

    def __init__(self, output: Console) -> None:
        self._output = output
        self._view: View | None = None
        self.live = nullcontext()
        self.suggested = 0

    def begin(self, scene: Scene) -> None:
        """Begin a scene."""
        self._view = None

    def show(self, view: View) -> None:
        """Keep the view if the end of the scene should print it."""
        self.suggested += bool(view.suggested)
        if view.suggested and (view.tab or self._view is None or not self._view.tab):
            self._view = view

    def end(self, scene: Scene, accepted: Sequence[tuple[int, int]]) -> None:
        """Print the result of a scene and the kept view."""
        self._output.print(render_result(scene, accepted, False))
        if self._view is not None:
            self._output.print(Text("\n").join(render_code(self._view, scene.language_id, False)))
            self._output.print(f"{'Tab' if self._view.tab else 'typed over'}: {self._view.status}\n")


def render_code(view: View, language: str, styled: bool) -> list[Text]:
    """Draw the cursor's line and its neighbors, one `Text` for each row."""
    document = view.document
    line, _ = document.position(view.start)
    first = max(0, line - _ABOVE)
    last = min(line + _BELOW, document.line_count - 1)
    first_offset = document.span(first)[0]
    before = document.text[first_offset : view.start]
    after = document.text[view.end : document.span(last)[1]]

    def highlight(shown: str) -> Text:
        text = ghost.highlight(shown, language) if styled else Text(shown)
        for start, end in view.accepted:
            if first_offset <= start and end <= view.start:
                columns = (
                    len(document.text[first_offset:at].expandtabs(ghost.TAB_WIDTH)) for at in (start, end)
                )
                text.stylize("underline green", *columns)
        return text

    lines = ghost.render_lines(before, view.suggested, after, first + 1, styled, highlight, view.rest)
    return list(lines.split("\n", allow_blank=True))


def render_result(scene: Scene, accepted: Sequence[tuple[int, int]], styled: bool) -> Text:
    """Draw the text of a scene with its accepted parts marked: by brackets, `return ⟦self.hits⟧`, or in green."""
    line = Text(f"{scene.path.name:18} ", style="bold")
    at = scene.start
    for start, end in [*accepted, (scene.end, scene.end)]:
        line.append(scene.text[at:start], style="not bold")
        if end > start:
            accepted_text = scene.text[start:end]
            line.append(accepted_text if styled else f"⟦{accepted_text}⟧", style="not bold underline green")
        at = end
    keys = scene.end - scene.start - sum(end - start - 1 for start, end in accepted)
    return line.append(f"  {keys} of {scene.end - scene.start} keys", style="not bold bright_black")


def _shift(view: View, width: int) -> int:
    """Return how many columns of code to cut off at the left, so that a narrow terminal shows the cursor."""
    line, _ = view.document.position(view.start)
    column = len(view.document.text[view.document.span(line)[0] : view.start].expandtabs(ghost.TAB_WIDTH))
    first = (view.suggested + view.rest).partition("\n")[0]
    return max(0, min(column, column + min(_MIN_SUGGESTION_COLUMNS, len(first)) + 2 - (width - _GUTTER)))
