"""Keeps the recent edits of the open documents: adjacent changes are one edit, and undone edits are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mercury_lsp.syntax.document import common_prefix_length

MAX_EDITS = 40
MAX_EDIT_CHARACTERS = 2_000
MAX_DOCUMENTS = 16


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of the text `before` by `after` at `start`, an offset in the current document."""

    start: int
    before: str
    after: str

    @property
    def end(self) -> int:
        """The end of the new text."""
        return self.start + len(self.after)

    def trimmed(self) -> Edit:
        """Return the edit without the text that both sides have in common at their start and end."""
        head = common_prefix_length(self.before, self.after)
        before, after = self.before[head:], self.after[head:]
        tail = common_prefix_length(before[::-1], after[::-1])
        return Edit(self.start + head, before[: len(before) - tail], after[: len(after) - tail])


class DocumentEdits:
    """The recent edits of one document, the newest last."""

    def __init__(self) -> None:
        self.edits: tuple[Edit, ...] = ()

    def change(self, start: int, removed: str, text: str) -> None:
        """Record that `text` replaced `removed` at `start`.

        The change is joined with the edits whose new text it touches, and shifts the edits after it.
        """
        new = Edit(start, removed, text).trimmed()
        if not new.before and not new.after:
            return
        if len(new.before) + len(new.after) > MAX_EDIT_CHARACTERS:
            # A formatter, a checkout or a pasted file is no edit that a user repeats.
            self.edits = ()
            return
        end, longer = new.start + len(new.before), len(new.after) - len(new.before)
        kept: list[Edit] = []
        touched: list[Edit] = []
        for edit in self.edits:
            if edit.end < new.start:
                kept.append(edit)
            elif edit.start > end:
                kept.append(Edit(edit.start + longer, edit.before, edit.after))
            else:
                touched.append(edit)
        joined = _joined(new, sorted(touched, key=lambda edit: edit.start))
        if joined.before != joined.after and len(joined.before) + len(joined.after) <= MAX_EDIT_CHARACTERS:
            kept.append(joined)
        self.edits = tuple(kept[-MAX_EDITS:])


def _joined(new: Edit, touched: Sequence[Edit]) -> Edit:
    """Join `new` and the earlier edits whose new text it touches, sorted by place, into one edit."""
    if not touched:
        return new
    end = new.start + len(new.before)
    low = min(new.start, touched[0].start)
    before, at = [], low
    # Rebuild the text from `low` on before all of these edits.
    for edit in touched:
        before.append(new.before[max(0, at - new.start) : max(0, edit.start - new.start)])
        before.append(edit.before)
        at = edit.end
    before.append(new.before[max(0, at - new.start) :])
    first, last = touched[0], touched[-1]
    head = first.after[: max(0, new.start - first.start)]
    tail = last.after[len(last.after) - max(0, last.end - end) :] if last.end > end else ""
    return Edit(low, "".join(before), head + new.after + tail)


def by_line(text: str, edits: Sequence[Edit]) -> list[Edit]:
    """Join the edits of each line of `text`, the text after all edits; return them with the newest last."""
    order = {edit.start: number for number, edit in enumerate(edits)}
    groups: list[list[Edit]] = []
    for edit in sorted(edits, key=lambda edit: edit.start):
        if groups and "\n" not in text[groups[-1][-1].end : edit.start]:
            groups[-1].append(edit)
        else:
            groups.append([edit])
    groups.sort(key=lambda group: max(order[edit.start] for edit in group))
    return [_line(text, group) for group in groups]


def _line(text: str, group: Sequence[Edit]) -> Edit:
    low, high = group[0].start, group[-1].end
    before, at = [], low
    for edit in group:
        before += [text[at : edit.start], edit.before]
        at = edit.end
    return Edit(low, "".join(before), text[low:high])


class EditHistory:
    """The recent edits of all open documents. Not thread-safe, but its results are frozen."""

    def __init__(self) -> None:
        self._documents: dict[str, DocumentEdits] = {}

    def change(self, uri: str, start: int, removed: str, text: str) -> None:
        """Record a change of a document, see `DocumentEdits.change`."""
        edits = self._documents.pop(uri, None) or DocumentEdits()
        edits.change(start, removed, text)
        self._documents[uri] = edits
        while len(self._documents) > MAX_DOCUMENTS:
            del self._documents[next(iter(self._documents))]

    def rewrite(self, uri: str, old: str, new: str) -> None:
        """Record the change between two whole texts of a document, for clients that send nothing else."""
        edit = Edit(0, old, new).trimmed()
        self.change(uri, edit.start, edit.before, edit.after)

    def forget(self, uri: str) -> None:
        """Forget the edits of a document that was closed or read again."""
        self._documents.pop(uri, None)

    def edits(self, uri: str) -> tuple[Edit, ...]:
        """Return the recent edits of a document, the newest last."""
        known = self._documents.get(uri)
        return () if known is None else known.edits
