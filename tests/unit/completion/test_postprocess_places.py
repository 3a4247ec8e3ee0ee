"""Tests that a suggestion fits the text after it: brackets, comments, commas, statements. ¦ is the cursor."""

from __future__ import annotations

import pytest
from test_postprocess import text_of

COMMENTS = [
    ("dart", "f(1, // one\n);\nf(2, // two\n);\nf(¦);\n", "3, // three", "3"),
    ("csharp", "F(1, // one\n);\nF(¦);\n", "3, // three", "3"),
    ("toml", "a = [¦]\n", "1, # one", "1"),
    ("swift", "f(¦)\n", "3 // three", "3"),
    ("sql", "f(¦)\n", "3 -- three", "3"),
    ("haskell", "x = (¦)\n", "3 -- three", "3"),
    ("lisp", "(f ¦)\n", "3 ; three", "3"),
    ("python", "f(¦)\n", "3, # three", "3"),
    ("javascript", "f(¦);\n", "'//a' // three", "'//a'"),
    # closing brackets are appended before the comment
    ("dart", "void main() {\n  ¦\n}\n", "f(1, // one", "f(1)"),
    ("python", "x = ¦\n", "f(1 # one", "f(1)"),
    ("python", "f(¦\n", "1 # one", "1)"),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), COMMENTS)
def test_a_comment_does_not_swallow_the_text_after_it(
    language_id: str, marked: str, text: str, shown: str
) -> None:
    assert text_of(language_id, marked, text) == shown
    assert text_of(language_id, marked, text, single_line=True) == shown


def test_a_comment_at_the_end_of_a_line_is_kept() -> None:
    for language_id, text in (
        ("dart", "f(1); // one"),
        ("python", "f(1)  # one"),
        ("sql", "SELECT 1 -- one"),
    ):
        assert text_of(language_id, "¦\n", text) == text


BRACES = [
    (
        "go",
        "func sub(a int, b int) int {\n\treturn a - b\n}\n\nfunc add(a int, b int) int {¦}\n",
        "\n\treturn a + b",
        "\n\treturn a + b\n",
    ),
    ("go", "func add(a int, b int) int {¦}\n", "\n\treturn a + b}", "\n\treturn a + b\n"),
    ("go", "func add(a int, b int) int {¦\n", "\n\treturn a + b}", "\n\treturn a + b\n}"),
    ("go", "func add(a int, b int) int {\n\t¦\n", "return a + b}", "return a + b\n}"),
    ("go", "var x = T{¦}\n", "\n\ta: 1", "\n\ta: 1"),  # a new line would need a comma
    ("rust", "fn add(a: i32) -> i32 {¦}\n", "\n    a + 1}", "\n    a + 1\n"),
    ("rust", "fn f() {\n    v.map(|x| {¦})\n}\n", "\n        x + 1", "\n        x + 1\n    "),
    ("csharp", "class A {\n  int F() {¦}\n}\n", "\n    return 1;", "\n    return 1;\n  "),
    ("kotlin", "a.map { x -> ¦}\n", "\n    x + 1", "\n    x + 1\n"),
    ("css", "a {¦}\n", "\n  color: red;", "\n  color: red;\n"),
    ("css", "a {\n  b: c }\n\nd {¦}\n", "\n  e: f;", "\n  e: f;"),  # the document's style
    ("latex", "\\a{%\n  ¦\n", "\\b{c}}%", "\\b{c}}%"),
    ("javascript", "x = {¦}\n", "a: 1, b: 2", "a: 1, b: 2"),
    ("javascript", "x = {¦}\n", "a: {\n  b: 1}", "a: {\n  b: 1\n}"),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), BRACES)
def test_a_brace_that_closes_a_multi_line_block_begins_a_line(
    language_id: str, marked: str, text: str, shown: str
) -> None:
    assert text_of(language_id, marked, text) == shown


def test_single_line_suggestions_omit_a_brace_that_would_begin_a_line() -> None:
    assert text_of("go", "func f() int {\n\t¦\n", "return 1}", single_line=True) == "return 1"


STATEMENTS = [
    (
        "python",
        "def f():\n    if x:\n        return 1\n¦    return 2\n",
        "        return 0",
        "        return 0\n",
    ),
    ("python", "def f():\n    x = 1\n    ¦return 2\n", "y = 3", "y = 3\n    "),
    ("python", "def f():\n    ¦foo(2)\n", "await ", "await "),
    ("javascript", "function f() {\n  ¦return 2;\n}\n", "a();", "a();\n  "),
    ("javascript", "function f() {\n  ¦foo();\n}\n", "return ", "return "),
    ("c", "int f() {\n  ¦return 2;\n}\n", "a();", "a();\n  "),
    ("yaml", "a:\n  ¦b: 2\n", "c: 1", "c: 1\n  "),
    ("csharp", "  ¦return 2;\n", "F();", "F();\n  "),
    ("python", "def f(y):\n    ¦return y\n", "x = y", "x = y\n    "),
    ("javascript", "function f() {\n  ¦foo();\n}\n", "const a = b", "const a = b\n  "),
    ("markdown", "¦is\n", "This ", "This "),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), STATEMENTS)
def test_two_statements_are_not_put_on_one_line(language_id: str, marked: str, text: str, shown: str) -> None:
    assert text_of(language_id, marked, text) == shown
    single = text_of(language_id, marked, text, single_line=True)
    assert single == (None if "\n" in shown else shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\n  let b = 2;", None),
        ("\nlet b = 2;", "\nlet b = 2;\n"),
        ("if (a) {\n  b();\n}", "if (a) {\n  b();\n}\n"),
    ],
)
def test_a_line_before_a_statement_is_not_indented_deeper(text: str, shown: str | None) -> None:
    assert text_of("javascript", "let a = 1;\n¦function f() {\n  return 1;\n}\n", text) == shown


@pytest.mark.parametrize(
    ("language_id", "marked", "text", "shown"),
    [
        ("markdown", "¦is\n", "This", None),
        ("python", "x = ¦count\n", "total", None),
        ("c", "int f() {\n  ¦x = 1;\n}\n", "int", None),
        ("python", "class A:\n    ¦name: str\n", "user_", "user_"),
        ("python", "x = total_¦s\n", "count", "count"),
    ],
)
def test_a_text_does_not_become_one_word_with_the_word_after_the_cursor(
    language_id: str, marked: str, text: str, shown: str | None
) -> None:
    """It may within a word, and after an underscore."""
    assert text_of(language_id, marked, text) == shown


COMMAS = [
    ("sql", "CREATE TABLE b (\n  ¦\n);\n", "id INT,", "id INT"),
    ("sql", "CREATE TABLE b (\n  ¦\n);\n", "id INT,\n  name TEXT,", "id INT,\n  name TEXT"),
    ("sql", "CREATE TABLE b (\n  ¦\n  c INT\n);\n", "id INT,", "id INT,"),
    ("sql", "SELECT ¦\nFROM t;\n", "a, b,", "a, b"),
    ("json", "{\n  ¦\n}\n", '"a": 1,', '"a": 1'),
    ("python", "f(¦)\n", "a, b,", "a, b"),
    ("python", "x = (¦)\n", "1,", "1,"),
    ("javascript", "f(\n  ¦\n)\n", "a,\n  b,", "a,\n  b,"),
    ("java", "class A { void f() { g(\n  ¦\n); } }\n", "a,\n  b,", "a,\n  b"),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), COMMAS)
def test_no_trailing_comma_is_shown_where_the_language_forbids_it(
    language_id: str, marked: str, text: str, shown: str
) -> None:
    assert text_of(language_id, marked, text) == shown


@pytest.mark.parametrize(
    ("language_id", "marked", "text"),
    [
        ("go", "func add(a int, b int) int {¦}\n", "}\n\treturn a + b\n}"),
        ("c", "int add(int a, int b) {¦}\n", "}\n{}"),
        ("javascript", "function add(a, b) {¦}\n", "}\n\nfunction sub(a, b) {}"),
    ],
)
def test_a_text_that_closes_the_block_at_once_is_not_shown(language_id: str, marked: str, text: str) -> None:
    assert text_of(language_id, marked, text) is None


@pytest.mark.parametrize("text", ["    if x:", "        if x:", "    for y in x:"])
def test_a_new_header_does_not_take_the_next_statement_as_its_body(text: str) -> None:
    assert text_of("python", "def f(x):\n    if x:\n        return 1\n¦    return 2\n", text) is None
