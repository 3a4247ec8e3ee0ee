"""Tests of inserted lines: lines inserted twice are suggested next to equal lines."""

from __future__ import annotations

import pytest
from support.typing_edits import Typist

from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.lines import Inserted, inserted
from mercury_lsp.syntax.document import Document

BODY = "test('a', t => {\n  const app = make()\n  a()\n})\nif (b) {\n    const app = make()\n}\n"
MORE = "const app = make()\nmake()\n"


@pytest.mark.parametrize(
    ("text", "edit", "found"),
    [
        ("a\n  b\n  c()\n", Edit(2, "", "  b\n"), Inserted(1, ("b",), "a", "c()", 0)),
        ("a\n  b\n  c()\n", Edit(1, "", "\n  b"), Inserted(1, ("b",), "a", "c()", 0)),
        ("a\n  b\n  c()\n", Edit(4, "", "b\n  "), Inserted(1, ("b",), "a", "c()", 0)),
        ("a\n  b\n\n  c\n", Edit(2, "", "  b\n"), Inserted(1, ("b",), "a", "c", 1)),
        (
            "a\r\n  if b:\r\n    c\r\n  d\r\n",
            Edit(3, "", "  if b:\r\n    c\r\n"),
            Inserted(1, ("if b:", "  c"), "a", "d", 0),
        ),
        ("b\n", Edit(0, "", "b\n"), Inserted(0, ("b",), "", "", 1)),
        ("a\n  b\n  c()\n", Edit(2, "x", "  b\n"), None),
        ("ab\n", Edit(1, "", "b"), None),
        ("a b\nc\n", Edit(1, "", " b\nc"), None),
        ("a\n\n\nb\n", Edit(2, "", "\n\n"), None),
    ],
)  # fmt: skip
def test_inserted_lines_are_recognized(text: str, edit: Edit, found: Inserted | None) -> None:
    assert inserted(Document("", "a.py", "python", 1, text), edit) == found


def test_lines_are_suggested_before_equal_lines() -> None:
    typist = Typist(
        "javascript", BODY + "function f() {\n      const app = make()\n      return app\n}\n" + MORE
    )
    typist.type("  const app = make()\n  a", "  const spy = watch(w)\n\n  const app = make()\n  a")
    assert typist.offers() == []
    typist.type("    const app = make()\n}", "    const spy = watch(w)\n\n    const app = make()\n}")
    typist.take_all()
    assert typist.text.endswith(
        "function f() {\n      const spy = watch(w)\n\n      const app = make()\n      return app\n}\n"
        "const spy = watch(w)\n\nconst app = make()\nmake()\n"
    )
    assert typist.text.count("watch(w)") == 4


def test_lines_are_suggested_after_equal_lines() -> None:
    body = "def {}(a):\n    check(a, 1)\n    {}()\n\n\n"
    text = body.format("f", "b") + body.format("g", "c") + body.format("h", "d")
    typist = Typist("python", text)
    typist.type("    b()", "    log(a)\n    b()")
    typist.type("    c()", "    log(a)\n    c()")
    typist.take_all()
    assert typist.text == text.replace("check(a, 1)\n", "check(a, 1)\n    log(a)\n")


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        # The adjacent lines have too few words in common.
        (
            "if a:\n    pass\nif b:\n    pass\nif c:\n    pass\n",
            ("if a:\n", "if a:\n    x = 1\n"),
            ("if b:\n", "if b:\n    x = 1\n"),
        ),
        # The inserted lines differ.
        (
            "f(a, b)\nf(a, b)\nf(a, b)\n",
            ("f(a, b)\n", "f(a, b)\nx = 1\n"),
            ("f(a, b)\nf(a, b)\n", "f(a, b)\nx = 2\nf(a, b)\n"),
        ),
        # One place is in a string, and the other already has the line.
        (
            "f(a, b)\nf(a, b)\ns = '''\nf(a, b)\n'''\nx = 1\nf(a, b)\n",
            ("f(a, b)\n", "x = 1\nf(a, b)\n"),
            ("f(a, b)\ns", "x = 1\nf(a, b)\ns"),
        ),
    ],
)
def test_nothing_is_suggested_without_enough_evidence(
    text: str, first: tuple[str, str], second: tuple[str, str]
) -> None:
    typist = Typist("python", text)
    typist.type(*first)
    typist.type(*second)
    assert typist.offers() == []
