"""Edits made twice are generalized, and offered where their old side matches."""

from __future__ import annotations

import time

import pytest
from support.typing_edits import Typist

from mercury_lsp.edits import matching
from mercury_lsp.edits.candidates import find_candidates
from mercury_lsp.edits.patterns import Hole, Pattern, Replaced, depth_after
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax


def test_an_argument_is_added_to_calls() -> None:
    typist = Typist("python", "foo(a, b)\nx = foo(c, d[1, 2])\ny = [foo(e(1), f)]\nbar(1)\nfoo()\n")
    typist.type(")", ", timeout=10)")
    assert typist.offers() == []
    typist.type("])", "], timeout=10)")
    typist.take_all()
    assert typist.text == (
        "foo(a, b, timeout=10)\nx = foo(c, d[1, 2], timeout=10)\ny = [foo(e(1), f, timeout=10)]\nbar(1)\nfoo()\n"
    )


def test_what_differs_is_reused() -> None:
    typist = Typist(
        "python",
        "    self.assertEqual(a, b)\n    self.assertEqual(c.d, e)\n    self.assertEqual(f(1, 2), g[3])\n"
        "    self.assertIn(a, b)\n",
    )
    typist.type("self.assertEqual(a, b)", "assert a == b")
    typist.type("self.assertEqual(c.d, e)", "assert c.d == e")
    typist.take_all()
    assert typist.text == (
        "    assert a == b\n    assert c.d == e\n    assert f(1, 2) == g[3]\n    self.assertIn(a, b)\n"
    )


def test_a_type_is_changed_at_its_uses() -> None:
    typist = Typist(
        "python", "a: Optional[int] = 1\nb: Optional[str] = 2\nc: Optional[list[int]] = 3\nd: int = 4\n"
    )
    typist.type("Optional[int]", "int | None")
    typist.type("Optional[str]", "str | None")
    typist.take_all()
    assert typist.text == "a: int | None = 1\nb: str | None = 2\nc: list[int] | None = 3\nd: int = 4\n"


def test_lines_of_a_list() -> None:
    typist = Typist("javascript", "const a = {\n  x: get('x'),\n  yes: get('yes'),\n  no: get('no'),\n};\n")
    typist.type("get('x')", "fetch('x', 1)")
    typist.type("get('yes')", "fetch('yes', 1)")
    typist.take_all()
    assert typist.text == (
        "const a = {\n  x: fetch('x', 1),\n  yes: fetch('yes', 1),\n  no: fetch('no', 1),\n};\n"
    )


def test_a_word_after_the_begin_of_a_line() -> None:
    typist = Typist(
        "typescript",
        "class A extends B {\n  protected one(): void {}\n  protected two?: X\n  protected three!: Y<\n"
        "    protected\n  >\n  readonly four = 4\n  protected five() {}\n}\n",
    )
    typist.type("protected one", "protected override one")
    assert typist.offers() == []
    typist.type("protected two", "protected override two")
    typist.take_all()
    assert [line for line in typist.text.split("\n") if "protected" in line] == [
        "  protected override one(): void {}",
        "  protected override two?: X",
        "  protected override three!: Y<",
        "    protected",
        "  protected override five() {}",
    ]


def test_lines_of_comments_are_deleted_alike() -> None:
    text = "".join(f"/**\n * Text {n} @return {{void}}\n * @return {{void}}\n */\nf{n}()\n" for n in range(5))
    typist = Typist("javascript", text)
    for number in range(3):
        assert typist.offers() == []
        typist.type(" * @return {void}\n", "", typist.text.index(f"Text {number}"))
    typist.take_all()
    assert typist.text == text.replace(" * @return {void}\n", "")


def test_in_comments_more_words_must_be_the_same() -> None:
    typist = Typist(
        "python",
        "# an old way\n# the old way to go\nx = 1\n# this old way to stay\n# the old way to go\nold()\n",
    )
    typist.type("an old way", "an new way")
    typist.type("the old way to go", "the new way to go")
    assert typist.offers() == []
    typist.type("this old way to", "this new way to")
    assert typist.offers() == []


def test_a_place_keeps_its_own_blanks() -> None:
    typist = Typist("python", "old.call(1)\nif x:\n    old.call(2)\n        \n    y =   old.call(3)\n")
    typist.type("old", "new.first")
    typist.type("old", "new.first")
    typist.take_all()
    assert (
        typist.text
        == "new.first.call(1)\nif x:\n    new.first.call(2)\n        \n    y =   new.first.call(3)\n"
    )


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("a = 'old x'\nb = 'old y'\nc = 'old z'\n", ("old x", "new x"), ("old y", "new y")),
        ("# old x\n# old y\n# old z\n", ("old x", "new x"), ("old y", "new y")),
        ("a = 1\nb = 2\nc = 3\n", ("1", "10"), ("2", "20")),
        ("f(1)\ng(2)\nh(3)\n", ("f(1)\n", ""), ("g(2)\n", "")),
    ],
)
def test_nothing_is_offered(text: str, first: tuple[str, str], second: tuple[str, str]) -> None:
    typist = Typist("python", text)
    typist.type(*first)
    typist.type(*second)
    assert typist.offers() == []


def test_no_secret_is_repeated() -> None:
    for value, count in (("retries", 1), ("'gH7kQ2mZx9Lw4TbV'", 0)):
        typist = Typist("python", "connect(one)\nconnect(two)\nconnect(three)\n")
        typist.type("connect(one", f"connect(one, password={value}")
        typist.type("connect(two", f"connect(two, password={value}")
        assert len(typist.offers()) == count


def test_an_edited_place_is_not_edited_again() -> None:
    typist = Typist("python", "a = f(x)\nb = f(y)\n")
    typist.type("f(x)", "f(f(x))")
    typist.type("f(y)", "f(f(y))")
    assert typist.offers() == []


def test_the_time_is_bounded() -> None:
    lines = [f"value_{number} = call(value_{number % 7}, other[{number}], name)\n" for number in range(2_000)]
    typist = Typist("python", "".join(lines))
    for number in range(3, 12):
        typist.type(lines[number][:-2], lines[number][:-2] + ", more=1")
    syntax = Syntax.of(Document("", "a.py", "python", 1, typist.text))
    began = time.thread_time()
    found = find_candidates(syntax, typist.history.edits, seconds=0.0)
    # A generous bound, because the machine may be busy; without one it takes a second.
    assert time.thread_time() - began < 0.25
    assert found == []
    assert find_candidates(syntax, typist.history.edits, seconds=60)


def _tokens_looked_at(monkeypatch: pytest.MonkeyPatch, nulls: int, columns: int, until: float = 1e9) -> int:
    """The tokens that are looked at as ends of blocks where `nulls` in a row of more than `columns` never match."""
    looked_at = 0

    def counted(token: str, depth: int) -> int:
        nonlocal looked_at
        looked_at += 1
        return depth_after(token, depth)

    monkeypatch.setattr(matching, "depth_after", counted)
    blocks = tuple((Hole(number, True),) for number in range(nulls - 1))
    pattern = Pattern(("(",), (")", ";"), (Replaced(("NULL",), ("0",), (None, None)),) * nulls, blocks)
    row = ", ".join(f"NULL, c{number}" for number in range(columns))
    document = matching.Document.of(f"({row}, last); NULL")
    assert list(matching.find_places(document, pattern, until)) == []
    return looked_at


def test_a_row_with_more_edits_takes_no_more_than_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "monotonic", lambda: 0.0)
    usual = _tokens_looked_at(monkeypatch, 4, 9)
    assert 0 < _tokens_looked_at(monkeypatch, 8, 18) < 8 * usual


def test_matching_ends_in_the_middle_of_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(matching, "monotonic", lambda: next(clock))
    assert 0 < _tokens_looked_at(monkeypatch, 8, 18, until=3.0) <= 4 * matching.MAX_BLOCK_TOKENS


def test_a_word_that_comes_again_is_found_after_another_block() -> None:
    word, parts = (
        Hole(1),
        (Replaced(("old",), ("new",), (None, None)), Replaced(("x",), ("y",), (None, None))),
    )
    pattern = Pattern((), (Hole(2, True), word), parts, ((Hole(0, True), "=", word, Hole(3, True)),))
    document = matching.Document.of("old a = b + c = d + x, e d")
    assert [place.text for place in matching.find_places(document, pattern, 1e9)] == ["new a = b + c = d + y"]
