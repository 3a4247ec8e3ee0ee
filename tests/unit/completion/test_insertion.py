"""What an insertion does to the syntax around it. ¦ is the cursor."""

from __future__ import annotations

from time import thread_time

import pytest

from mercury_lsp.completion.fitting.insertion import Fit, InsertionPoint
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax


def site(language_id: str, marked: str) -> InsertionPoint:
    offset = marked.index("¦")
    document = Document("file:///a", "a", language_id, 1, marked.replace("¦", ""))
    return InsertionPoint(Syntax.of(document), offset)


def fit(language_id: str, marked: str, text: str) -> Fit:
    place = site(language_id, marked)
    return place.try_out(text, place.offset).fit


SOUND = [
    ("python", "x = ¦\n", "foo(a)"),
    ("python", "x = foo(¦)\n", "a"),
    ("python", "x = foo(¦\n", "a)"),
    ("python", "def f():\n    ¦\n", "if x:\n        y\n    return z"),
    ("python", "def f():\n    x = 1\n    ¦\n    y = 2\n", "if x:"),
    ("python", "f(\n    ¦\n)\n", "  a,\n b"),
    ("python", "x = '¦\n", "a'"),
    ("python", "x = (1\n\ny = ¦\n", "3"),  # the error is elsewhere
    ("python", "def f():\n    '''a\nb'''\n    ¦\n    y = 2\n", "x = 1"),
    ("python", "print a\n¦\n", "print b"),  # as the document does
    ("javascript", "if (a) {\n  b();\n¦\n}\n", "} else {\n  c();"),
    ("c", "int f() {\n  ¦\n}\n", "return 1;"),
    ("plaintext", "a (¦", "b)"),
    ("yaml", 'a: "¦"\n', "b c"),
    ("yaml", "a: ¦\n", '"b"\nc: d'),
    ("yaml", 'a: "¦\n', "b"),  # it was open before
    ("plaintext", "it¦\n", "'s five o'clock"),
    ("plaintext", "a ¦", "(b"),  # brackets of prose need no partner: `1)`, `[0, 1)`, `:(`
]

BROKEN = [
    ("yaml", 'a: "¦"\n', 'b" + c'),
    ("yaml", "a: ¦\n", '"b'),
    ("yaml", "a: ¦\n", 'b\nc: "d'),
    ("python", "x = ¦\n", "foo(a"),
    ("python", "x = foo(¦)\n", "a)"),
    ("python", "x = foo(¦\n", "a"),
    ("python", "x = ¦\n", "a b"),
    ("python", "¦\n", "print x"),
    ("python", "def f():\n    ¦\n", "if x:\n    y"),
    ("python", "def f():\n    ¦\n", "x = 1\n  y = 2"),
    ("python", "def f():\n    x = 1\n¦\n    y = 2\n", "z = 3"),
    ("python", "x = '¦\n", "a"),
    ("javascript", "function f() {\n  ¦\n}\n", "if (a) {"),
    ("javascript", "x = `¦`\n", "a`"),
    ("unheard-of", "a ¦", "(b"),
]


@pytest.mark.parametrize(("language_id", "marked", "text"), SOUND)
def test_sound(language_id: str, marked: str, text: str) -> None:
    assert fit(language_id, marked, text) == Fit.SOUND


@pytest.mark.parametrize(("language_id", "marked", "text"), BROKEN)
def test_broken(language_id: str, marked: str, text: str) -> None:
    assert fit(language_id, marked, text) == Fit.BROKEN


def test_something_is_missing_still() -> None:
    assert fit("c", "int f() {\n  if (¦)\n}\n", "x > 0") == Fit.OPEN


@pytest.mark.parametrize(
    ("language_id", "marked", "text", "surplus"),
    [
        ("python", "foo(¦)\n", "a, b)", 4),
        ("python", "foo(¦\n", "a, b)", None),
        ("python", "foo(¦\n", "a, b))", 5),
        ("python", "foo(¦)\n", "bar(a)", None),
        ("python", "foo(¦)\n", "(a]", 2),
        ("python", "foo(¦)\n", "')'", None),
        ("javascript", "function f() {¦}\n", " a }", 3),
        ("javascript", "function f() {\n  if (a) {\n    ¦\n}\n", "b }", None),  # one of the two is open
    ],
)
def test_surplus_brackets(language_id: str, marked: str, text: str, surplus: int | None) -> None:
    place = site(language_id, marked)
    assert place.try_out(text, place.offset).surplus == surplus


@pytest.mark.parametrize(
    ("language_id", "marked", "text", "closers"),
    [
        ("python", "foo(¦\n", "[a, b", "])"),
        ("python", "foo(¦)\n", "a", ""),
        ("python", "foo(¦)\n", "bar(a", ")"),
        ("python", "x = {\n¦\n", "'a': (1", ")"),  # what other lines open is not ours to close
        ("javascript", "function f() {\n  ¦\n}\n", "if (a) {\n    b(", ")\n  }"),
        ("javascript", "function f() {\n  ¦\n}\n", "if (a) {", "}"),
        ("shellscript", "f() {\n  ¦\n}\n", "case $x in a) b;; esac", ""),
    ],
)
def test_missing_brackets(language_id: str, marked: str, text: str, closers: str) -> None:
    place = site(language_id, marked)
    assert place.try_out(text, place.offset).closers == closers


def test_in_place_of_the_rest_of_the_line() -> None:
    place = site("python", "def f(¦):\n")
    trial = place.try_out("a):\n    return a", place.offset + 2)
    assert (trial.fit, trial.closers) == (Fit.SOUND, "")


def test_nothing_is_inserted() -> None:
    place = site("python", "x = ¦\n")
    place.try_out("1", place.offset)
    assert place.syntax.document.text == "x = \n"


def test_a_block_may_begin_before_a_long_comment() -> None:
    place = site("javascript", "if (x) { // " + "-" * 5_000 + "\n  f¦\n")
    assert place.with_braces_apart("();}", place.offset) == "();\n}"


@pytest.mark.parametrize("filler", [" " * 8_000, f"/*{'x' * 8_000}*/", "in " * 2_600, "|a" * 4_000])
def test_no_line_of_a_brace_takes_long(filler: str) -> None:
    """Compared with a line of code of the same length, in one run; a pattern that goes back takes 600 times as long."""

    def seconds(behind: str) -> float:
        place = site("javascript", f"f = () => {{\n}}\ng = () => {{\n}}\nif (x) {{{behind} y = 1;\n  f¦ }}\n")
        began = thread_time()
        assert place.with_braces_apart("()", place.offset) == "()"
        return thread_time() - began

    assert seconds(filler) < 100 * seconds("y = 1;" * 1_300)
