"""Keeps the open documents as other documents may use them: order of use, recent edits, what is out of date.

A document is `inside` once it is known to lie in the workspace and not to be ignored; before that, nothing of it is
used. Not for several threads at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mercury_lsp.context.secrets import without
from mercury_lsp.syntax.document import Document

EDITS, AROUND = 8, 10  # places, and lines each way


@dataclass(slots=True)
class Open:
    """An open document. `stale`: what others know of it is not its text as it is now. `file`: "" where it has none."""

    document: Document
    file: str
    inside: bool = False
    stale: bool = True


class OpenDocuments:
    """The open documents by their URIs."""

    def __init__(self) -> None:
        self._open: dict[str, Open] = {}  # the last used one last
        self._edits: list[tuple[str, int, str]] = []  # path, line and text, the newest first

    def get(self, uri: str) -> Open | None:
        """An open document."""
        return self._open.get(uri)

    def take(self, document: Document, file: str) -> None:
        """A document is open now, or is again."""
        known = self._open.pop(document.uri, None)
        self._open[document.uri] = Open(document, file, known is not None and known.inside)

    def admit(self, uri: str, inside: bool) -> Open | None:
        """Note whether a document may be used in others; the document, if that is news."""
        there = self._open.get(uri)
        if there is None or there.inside == inside:
            return None
        there.inside = inside
        if not inside:
            self._edits = [edit for edit in self._edits if edit[0] != there.document.path]
        return there

    def change(self, document: Document, offset: int | None) -> bool:
        """Take a document's new text, and where it was edited; whether that is another place than before.

        Who writes on in one line tells nothing new: what is drawn from the edits stays the same, and costs nothing.
        """
        there = self._open.get(document.uri)
        if there is None:
            return False
        there.document, there.stale = document, True
        if not there.inside or offset is None:
            return False
        line, _ = document.position(offset)
        first, last = max(0, line - AROUND), min(document.line_count - 1, line + AROUND)
        text = document.text[document.span(first)[0] : document.span(last)[1]]
        path = document.path
        moved = not self._edits or self._edits[0][:2] != (path, line)
        others = [edit for edit in self._edits if edit[0] != path or abs(edit[1] - line) > AROUND]
        self._edits = [(path, line, text), *others[: EDITS - 1]]
        return moved

    def use(self, uri: str) -> bool:
        """Note that a document is worked on; whether it is another one than before."""
        if uri not in self._open or next(reversed(self._open)) == uri:
            return False
        self._open[uri] = self._open.pop(uri)
        return True

    def close(self, uri: str) -> Open | None:
        """Forget a document."""
        return self._open.pop(uri, None)

    def holds(self, file: str) -> bool:
        """Whether a file is open, and may be used in others."""
        return any(there.file == file and there.inside for there in list(self._open.values()))

    def next_stale(self) -> Open | None:
        """A document that is out of date and may be used in others, but for the one that is being written."""
        found = (there for there in list(self._open.values())[:-1] if there.stale and there.inside)
        return next(found, None)

    @property
    def paths(self) -> tuple[str, ...]:
        """What the model is told the documents are, the last used first."""
        return tuple(there.document.path for there in reversed(list(self._open.values())) if there.inside)

    @property
    def files(self) -> list[str]:
        """Their files, the last used first."""
        return [there.file for there in reversed(list(self._open.values())) if there.inside]

    @property
    def folders(self) -> list[str]:
        """The folders of these files, the last used first."""
        return [file.rpartition("/")[0] for file in self.files]

    @property
    def edits(self) -> tuple[tuple[str, str], ...]:
        """Path and text of the recent edits, the newest first, without what looks like a secret."""
        return tuple((path, _cleaned(text)) for path, _, text in self._edits)


@lru_cache(maxsize=2 * EDITS)
def _cleaned(text: str) -> str:
    return without(text)
