"""What open documents tell others: which was used last, where they were edited, what is out of date."""

from __future__ import annotations

from support.planted_secrets import tokens

from mercury_lsp.session.open_documents import EDITS, OpenDocuments
from mercury_lsp.syntax.document import Document


def document(name: str, text: str = "\n".join(map(str, range(100)))) -> Document:
    return Document(f"file:///w/{name}", name, "python", 1, text)


def opened(*names: str) -> OpenDocuments:
    """Documents in the workspace."""
    there = OpenDocuments()
    for name in names:
        there.take(document(name), f"/w/{name}")
        there.admit(f"file:///w/{name}", True)
    return there


def test_the_last_used_comes_first() -> None:
    there = opened("a", "b", "c")
    assert there.paths == ("c", "b", "a") and there.files[0] == "/w/c"
    assert there.use("file:///w/a") and not there.use("file:///w/a") and not there.use("file:///w/z")
    assert there.paths == ("a", "c", "b")
    there.close("file:///w/c")
    assert there.paths == ("a", "b") and not there.holds("/w/c") and there.holds("/w/a")


def test_nothing_is_told_of_a_document_that_is_not_admitted() -> None:
    there = OpenDocuments()
    there.take(document("a"), "/w/a")
    assert not there.change(document("a"), 5)
    assert (there.paths, there.edits, there.files, there.holds("/w/a")) == ((), (), [], False)
    assert there.admit("file:///w/a", True) and not there.admit("file:///w/a", True)
    assert there.change(document("a"), 5) and there.edits
    assert there.admit("file:///w/a", False)
    assert (there.paths, there.edits) == ((), ())


def test_edits_are_the_lines_around_them_and_near_ones_are_one() -> None:
    there = opened("a", "b")
    text = document("a").text
    there.change(document("a"), text.index("50"))
    ((path, lines),) = there.edits
    assert path == "a" and lines.split("\n")[0] == "40" and lines.split("\n")[-1] == "60"
    there.change(document("a"), text.index("55"))
    assert len(there.edits) == 1 and there.edits[0][1].startswith("45")
    there.change(document("b"), 0)
    there.change(document("a"), text.index("90"))
    assert [path for path, _ in there.edits] == ["a", "b", "a"]
    for line in range(0, 100, 12):
        there.change(document("b"), text.index(f"\n{line}") if line else 0)
    assert len(there.edits) == EDITS


def test_writing_on_in_a_line_is_no_news() -> None:
    there = opened("a")
    assert there.change(document("a"), 0) and not there.change(document("a", "x" + document("a").text), 1)
    assert there.edits[0][1].startswith("x0\n")
    assert there.change(document("a"), 5)


def test_edits_hold_no_secrets() -> None:
    there, token = opened("a"), tokens()[2]
    there.change(document("a", f"one\nx = '{token}'\nthree"), 0)
    assert token not in there.edits[0][1] and there.edits[0][1].startswith("one\n")


def test_what_is_being_written_is_not_out_of_date() -> None:
    there = opened("a", "b")
    for uri in ("a", "b"):
        found = there.get(f"file:///w/{uri}")
        assert found is not None
        found.stale = False
    there.change(document("b"), 0)
    assert there.next_stale() is None
    there.use("file:///w/a")
    found = there.next_stale()
    assert found is not None and found.file == "/w/b"
