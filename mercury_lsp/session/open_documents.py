"""Keeps the open documents as other documents may use them: order of use, and what is out of date.

A document is `inside` once it is known to lie in the workspace and not to be ignored; before that, nothing of it is
used. Not for several threads at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from mercury_lsp.syntax.document import Document


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
        there.stale |= inside  # what was known of it was dropped
        return there

    def change(self, document: Document) -> None:
        """Take a document's new text."""
        if (there := self._open.get(document.uri)) is not None:
            there.document, there.stale = document, True

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
    def folders(self) -> list[str]:
        """The folders of their files, the last used first."""
        inside = [there for there in reversed(list(self._open.values())) if there.inside]
        return [there.file.rpartition("/")[0] for there in inside]
