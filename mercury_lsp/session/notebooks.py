"""Joins the cells of a notebook, in order, into the one document that their code runs as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from mercury_lsp.completion.types import Reply
from mercury_lsp.syntax.document import Document

# The separator between two cells.
BETWEEN = "\n\n"
# The largest number of characters of other cells in each direction.
MAX_OTHER_CELLS_CHARACTERS = 100_000


class Notebooks:
    """The order of the cells of the open notebooks, all by their URIs. It does not hold the cells' texts."""

    def __init__(self) -> None:
        self._cells: dict[str, list[str]] = {}
        # The notebook of each cell.
        self._notebooks: dict[str, str] = {}

    def open(self, notebook: str, cells: Sequence[str]) -> None:
        """Add a notebook, or replace the cells of one that is already open."""
        self.close(notebook)
        self.change(notebook, 0, 0, cells)

    def change(self, notebook: str, start: int, count: int, cells: Sequence[str]) -> None:
        """Replace `count` cells from index `start` on; numbers out of range are clamped."""
        known = self._cells.setdefault(notebook, [])
        start = min(start, len(known))
        for gone in known[start : start + count]:
            self._notebooks.pop(gone, None)
        known[start : start + count] = cells
        self._notebooks |= dict.fromkeys(cells, notebook)

    def close(self, notebook: str) -> list[str]:
        """Remove a notebook, and return its cells."""
        cells = self._cells.pop(notebook, [])
        for cell in cells:
            self._notebooks.pop(cell, None)
        return cells

    def join(self, cell: Document, find: Callable[[str], Document | None]) -> tuple[Document, int]:
        """Return the document of all cells in the language of `cell`, and the offset of `cell` in it.

        Of the other cells the nearest are included, up to `MAX_OTHER_CELLS_CHARACTERS` in each direction. A document
        that is not a cell is returned as it is, with offset 0.
        """
        order = self._cells.get(self._notebooks.get(cell.uri, ""), [cell.uri])
        if len(order) < 2:
            return cell, 0
        at = order.index(cell.uri)
        above = _texts(reversed(order[:at]), cell, find)[::-1]
        below = _texts(order[at + 1 :], cell, find)
        head = "".join(text + BETWEEN for text in above)
        text = head + cell.text + "".join(BETWEEN + text for text in below)
        return Document(cell.uri, cell.path, cell.language_id, cell.version, text), len(head)


def _texts(cells: Iterable[str], cell: Document, find: Callable[[str], Document | None]) -> list[str]:
    texts: list[str] = []
    room = MAX_OTHER_CELLS_CHARACTERS
    for uri in cells:
        document = find(uri)
        if document is None or document.language_id != cell.language_id or not document.text.strip():
            continue
        room -= len(document.text)
        if room < 0:
            break
        texts.append(document.text)
    return texts


def shift_reply(reply: Reply, by: int) -> Reply:
    """Return a reply for a joined document as a reply for the cell that starts at offset `by` of it."""
    completion = reply.completion
    if completion is None or by == 0:
        return reply
    alternatives = tuple(
        replace(one, start=one.start - by, end=one.end - by) for one in completion.alternatives
    )
    shifted = replace(
        completion, start=completion.start - by, end=completion.end - by, alternatives=alternatives
    )
    return replace(reply, completion=shifted)
