"""Suggestions that break a document, or repeat the text after them."""

from __future__ import annotations

import pytest

from mercury_lsp.syntax.document import Document
from model.evaluation.heldout.soundness import adds_syntax_errors, repeats


def place(text: str, language_id: str = "python") -> tuple[Document, int]:
    """Return the document of a text, and the offset of the cursor, which is marked with |."""
    before, _, after = text.partition("|")
    return Document("file:///a", "a", language_id, 1, before + after), len(before)


@pytest.mark.parametrize(
    ("text", "shown", "worse"),
    [
        ("x = |\n", "1", False),
        ("x = (|)\n", "1)", True),
        ("f(|\n", "1)", False),
        ("f(|)\n", "1, (", True),
        ("def f(:\n    |\n", "pass", False),  # the document was broken before
    ],
)
def test_a_further_syntax_error_makes_a_document_worse(text: str, shown: str, worse: bool) -> None:
    document, offset = place(text)
    assert adds_syntax_errors(document, offset, offset, shown) == worse


@pytest.mark.parametrize(
    ("text", "shown", "again"),
    [
        ("f(|, key)\n", "x, key", False),  # the rest begins with a comma, so nothing is repeated
        ("f(|, key)\n", "x, key)", True),
        ("f(|)\n", "g(x)", False),  # brackets do not count
        ("a = 1\n|\nb = 2\n", "b = 2", True),
        ("a = 1\n|\n\n    b = 2\n", "c = 3\nb = 2", True),
        ("a = 1\n|\nb = 2\n", "b = 3", False),
        ("if x {\n    |\n}\n", "y();\n}", False),
        ("b = |\nb = 2\n", "2", True),
    ],
)
def test_a_suggestion_that_repeats_the_following_text_is_detected(text: str, shown: str, again: bool) -> None:
    document, offset = place(text)
    assert repeats(document, offset, offset, shown) == again


def test_replaced_text_is_not_repeated() -> None:
    document, offset = place("f(|key)\n")
    assert not repeats(document, offset, offset + 4, "x, key)")
