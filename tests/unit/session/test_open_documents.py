"""What open documents tell others: which was used last, and what is out of date."""

from __future__ import annotations

from mercury_lsp.session.open_documents import OpenDocuments
from mercury_lsp.syntax.document import Document


def document(name: str, text: str = "\n".join(map(str, range(100)))) -> Document:
    return Document(f"file:///w/{name}", name, "python", 1, text)


def opened(*names: str) -> OpenDocuments:
    """Documents in the workspace."""
    there = OpenDocuments()
    for name in names:
        there.add(document(name), f"/w/{name}")
        there.admit(f"file:///w/{name}", True)
    return there


def test_the_last_used_comes_first() -> None:
    there = opened("a", "b", "c")
    assert there.paths == ("c", "b", "a") and there.folders == ["/w"] * 3
    assert there.use("file:///w/a") and not there.use("file:///w/a") and not there.use("file:///w/z")
    assert there.paths == ("a", "c", "b")
    there.close("file:///w/c")
    assert there.paths == ("a", "b") and not there.holds("/w/c") and there.holds("/w/a")


def test_nothing_is_told_of_a_document_that_is_not_admitted() -> None:
    there = OpenDocuments()
    there.add(document("a"), "/w/a")
    assert (there.paths, there.folders, there.holds("/w/a")) == ((), [], False)
    assert there.admit("file:///w/a", True) and not there.admit("file:///w/a", True)
    assert there.paths == ("a",)
    assert there.admit("file:///w/a", False)
    assert there.paths == ()


def test_what_is_being_written_is_not_out_of_date() -> None:
    there = opened("a", "b")
    for uri in ("a", "b"):
        there._open[f"file:///w/{uri}"].stale = False
    there.change(document("b"))
    assert there.next_stale() is None
    there.use("file:///w/a")
    found = there.next_stale()
    assert found is not None and found.file == "/w/b"
