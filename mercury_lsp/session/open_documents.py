"""Keeps the open documents as sources for other documents: their order of use, and which of them are out of date.

A document is `inside` once it is known to lie in the workspace and not to be ignored; before that, none of its text is
used. Not thread-safe.
"""

from __future__ import annotations

from dataclasses import dataclass

from mercury_lsp.syntax.document import Document


@dataclass(slots=True)
class OpenDocument:
    """An open document.

    `file`: its absolute path, or "". `stale`: the library's entry of the document is older than its current text.
    """

    document: Document
    file: str
    inside: bool = False
    stale: bool = True


class OpenDocuments:
    """The open documents by their URIs."""

    def __init__(self) -> None:
        # In the order of use, the last used document last.
        self._open: dict[str, OpenDocument] = {}

    def add(self, document: Document, file: str) -> None:
        """Add a document that was opened, or opened again."""
        known = self._open.pop(document.uri, None)
        self._open[document.uri] = OpenDocument(document, file, known is not None and known.inside)

    def admit(self, uri: str, inside: bool) -> OpenDocument | None:
        """Note whether other documents may use a document. Return the document if that has changed, otherwise None."""
        opened = self._open.get(uri)
        if opened is None or opened.inside == inside:
            return None
        opened.inside = inside
        # Its entry was dropped when it could not be used any more.
        opened.stale |= inside
        return opened

    def reset_access(self) -> None:
        """Forget which documents other documents may use; each must be admitted again."""
        for opened in self._open.values():
            opened.inside = False

    def change(self, document: Document) -> None:
        """Replace a document with its new version."""
        if (opened := self._open.get(document.uri)) is not None:
            opened.document, opened.stale = document, True

    def use(self, uri: str) -> bool:
        """Note that a document is being edited, and return whether another one was before."""
        if uri not in self._open or next(reversed(self._open)) == uri:
            return False
        self._open[uri] = self._open.pop(uri)
        return True

    def close(self, uri: str) -> OpenDocument | None:
        """Remove a document, and return it if it was open."""
        return self._open.pop(uri, None)

    def holds(self, file: str) -> bool:
        """Return whether a file is open and other documents may use it."""
        return any(opened.file == file and opened.inside for opened in list(self._open.values()))

    def next_stale(self) -> OpenDocument | None:
        """Return a document that is out of date and that other documents may use, except the one being edited."""
        found = (opened for opened in list(self._open.values())[:-1] if opened.stale and opened.inside)
        return next(found, None)

    @property
    def paths(self) -> tuple[str, ...]:
        """The documents' names for the model, the last used first."""
        return tuple(opened.document.path for opened in reversed(list(self._open.values())) if opened.inside)

    @property
    def folders(self) -> list[str]:
        """The folders of the documents' files, the last used first."""
        inside = [opened for opened in reversed(list(self._open.values())) if opened.inside]
        return [opened.file.rpartition("/")[0] for opened in inside]
