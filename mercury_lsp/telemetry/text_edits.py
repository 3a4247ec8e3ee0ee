"""Defines edits of a text, and joins, trims and compares them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mercury_lsp.syntax.document import common_prefix_length

_ENDING = re.compile(r"\r\n|\r")


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of the text `removed` at `start` by `text`; offsets count code points."""

    start: int
    removed: str
    text: str

    @property
    def end(self) -> int:
        """The end of the removed text."""
        return self.start + len(self.removed)


def single_edit(old: str, new: str) -> Edit:
    """Return the single edit from an old text to a new text, for clients that send whole documents."""
    head = common_prefix_length(old, new)
    return trim_edit(Edit(head, old[head:], new[head:]))


def join_edits(edits: Sequence[Edit]) -> list[Edit]:
    """Join each edit to the previous edit if it touches the text that the previous edit inserted."""
    joined: list[Edit] = []
    for edit in edits:
        last = joined[-1] if joined else None
        if last is None or edit.start > last.start + len(last.text) or edit.end < last.start:
            joined.append(edit)
            continue
        before, after = max(0, last.start - edit.start), max(0, edit.end - last.start - len(last.text))
        removed = edit.removed[:before] + last.removed + edit.removed[len(edit.removed) - after :]
        head, tail = last.text[: max(0, edit.start - last.start)], last.text[max(0, edit.end - last.start) :]
        joined[-1] = Edit(min(edit.start, last.start), removed, head + edit.text + tail)
    return joined


def trim_edit(edit: Edit) -> Edit:
    """Return the edit without unchanged text at its start and end."""
    head = common_prefix_length(edit.removed, edit.text)
    removed, text = edit.removed[head:], edit.text[head:]
    tail = common_prefix_length(removed[::-1], text[::-1])
    return Edit(edit.start + head, removed[: len(removed) - tail], text[: len(text) - tail])


def normalize_newlines(text: str) -> str:
    """Return the text with \\n for all line endings, because editors differ in the endings that they send."""
    return _ENDING.sub("\n", text) if "\r" in text else text
