"""What a cell is shown of its notebook."""

from __future__ import annotations

from mercury_lsp.completion.types import Completion, Reply, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill
from mercury_lsp.session.notebooks import BETWEEN, MAX_OTHER_CELLS_CHARACTERS, Notebooks, shift_reply
from mercury_lsp.session.session import Session
from mercury_lsp.syntax.document import Document

BOOK = "file:///w/book.ipynb"


def session(*texts: str, languages: str = "") -> Session:
    """A notebook of cells called 0, 1 and so on; a language m is another than that of the others."""
    made = Session()
    made.notebooks.open(BOOK, [str(number) for number in range(len(texts))])
    for number, text in enumerate(texts):
        language = "markdown" if languages[number : number + 1] == "m" else "python"
        made.open(str(number), "book.ipynb", language, 1, text)
    return made


def joined(made: Session, cell: str) -> tuple[str, int]:
    snapshot = made.snapshot(cell)
    assert snapshot is not None
    whole, start = made.join_notebook(snapshot)
    assert whole.document.text[start:].startswith(snapshot.document.text)
    assert whole.document.uri == cell and whole.config == snapshot.config
    return whole.document.text, start


def test_cells_are_joined_in_their_order() -> None:
    made = session("a = 1\n", "b", "c = 2")
    assert joined(made, "1") == (f"a = 1\n{BETWEEN}b{BETWEEN}c = 2", 8)
    assert joined(made, "0")[1] == 0
    made.notebooks.change(BOOK, 0, 3, ["2", "1", "0"])
    assert joined(made, "1") == (f"c = 2{BETWEEN}b{BETWEEN}a = 1\n", 7)
    made.notebooks.change(BOOK, 0, 1, [])
    assert joined(made, "1") == (f"b{BETWEEN}a = 1\n", 0)
    assert joined(made, "2") == ("c = 2", 0)  # it is in no notebook any more


def test_cells_of_other_languages_and_empty_or_unknown_ones_are_left_out() -> None:
    made = session("a", "# T", "  \n", "b", "# U", languages="pmppm")
    assert joined(made, "3") == (f"a{BETWEEN}b", 3)
    assert joined(made, "4") == (f"# T{BETWEEN}# U", 5)
    made.close("0")
    assert joined(made, "3") == ("b", 0)
    made.notebooks.close(BOOK)
    assert joined(made, "4") == ("# U", 0)


def test_far_cells_of_a_large_notebook_are_left_out() -> None:
    part = "x" * (MAX_OTHER_CELLS_CHARACTERS // 2)
    text, start = joined(session("far", part, part, "here", part, "far", part), "3")
    assert start == 2 * len(part + BETWEEN) and text == BETWEEN.join((part, part, "here", part, "far"))


def test_a_document_that_is_no_cell_stays_the_same() -> None:
    snapshot = Snapshot(Document("u", "a.py", "python", 1, "x"), Config())
    assert session().join_notebook(snapshot) == (snapshot, 0)
    assert Notebooks().close("none") == []


def test_completions_move_with_their_others() -> None:
    infill = Infill("y", 1, 1, 1, 0.0, 0.0, 0.0, 0, 0, 1.0, True)
    one = Completion("y", "y", 10, 12, infill)
    back = shift_reply(Reply(Completion("y", "y", 10, 10, infill, alternatives=(one,))), 7).completion
    assert back is not None
    assert (back.start, back.end, back.alternatives[0].start, back.alternatives[0].end) == (3, 3, 3, 5)
    assert shift_reply(Reply(), 3) == Reply()
