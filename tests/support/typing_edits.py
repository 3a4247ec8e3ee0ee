"""Types edits into a text key by key, with the changes that an editor would send."""

from __future__ import annotations

from mercury_lsp.edits.candidates import Candidate, Dismissals, find_candidates
from mercury_lsp.edits.history import DocumentEdits
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax


class Typist:
    """A document and the history of its edits."""

    def __init__(self, language: str, text: str) -> None:
        self.language, self.text = language, text
        self.history = DocumentEdits()
        self.dismissals = Dismissals()

    def type(self, old: str, new: str, at: int = 0) -> None:
        """Replace the first `old` after an offset by `new`: delete it at once, then type key by key."""
        start = self.text.index(old, at)
        self._change(start, old, "")
        for number, key in enumerate(new):
            self._change(start + number, "", key)

    def _change(self, start: int, removed: str, text: str) -> None:
        assert self.text.startswith(removed, start)
        self.history.change(start, removed, text)
        self.text = self.text[:start] + text + self.text[start + len(removed) :]

    def offers(self) -> list[Candidate]:
        """Return the offered next edits, without a judge."""
        syntax = Syntax.of(Document("file:///a", "a", self.language, 1, self.text))
        return find_candidates(syntax, self.history.edits, self.dismissals, seconds=60)

    def take(self, candidate: Candidate) -> None:
        """Apply an offer as the editor does."""
        self._change(candidate.start, self.text[candidate.start : candidate.end], candidate.text)

    def take_all(self) -> None:
        """Take the first offer until there is none."""
        for _ in range(50):
            offers = self.offers()
            if not offers:
                return
            self.take(offers[0])
        raise AssertionError("offers never end")
