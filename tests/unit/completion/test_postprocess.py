"""Tests of post-processing: which part of the model's text is shown. ¦ is the cursor."""

from __future__ import annotations

import argparse
import json.decoder
import random
import re
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.planted_secrets import tokens

from mercury_lsp.completion.fitting import postprocess
from mercury_lsp.completion.fitting.postprocess import Fitted
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation
from mercury_lsp.syntax.tree import Syntax


def show(
    language_id: str,
    marked: str,
    text: str,
    single_line: bool = False,
    finished: bool = True,
    told: Indentation = NO_INDENTATION,
) -> Fitted | None:
    offset = marked.index("¦")
    document = Document("file:///a", "a", language_id, 1, marked.replace("¦", ""))
    return postprocess.fit(text, document, offset, Syntax.of(document), single_line, finished, told)


def text_of(
    language_id: str, marked: str, text: str, single_line: bool = False, told: Indentation = NO_INDENTATION
) -> str | None:
    found = show(language_id, marked, text, single_line, told=told)
    assert found is None or found.end == marked.index("¦")
    return found.text if found else None


NOTHING_AMISS = [
    ("python", "x = ¦\n", "foo(a, b)"),
    ("python", "x = foo(¦)\n", "a, b"),
    ("python", "x = foo(¦)\n", "bar(a)"),
    ("python", "for x in ¦:\n    pass\n", "y"),
    ("python", "# note ¦\n", "that (this is unfinished"),
    ("python", "x = 1 ¦\n", "+ 2"),
    ("python", "x = [¦, 3]\n", "1, 2"),
    ("python", "def f():¦\n\nx = 1\n", "\n    return 1"),
    ("python", "import os\n¦\n", "import sys"),
    ("python", "if x:\n    ¦\n\nelse:\n    pass\n", "y = 1\n    z = 2"),
    ("javascript", "function f() {¦}\n", "\n  return 1;\n"),
    ("javascript", "if (a) {\n  ¦\n}\n", "b();\n} else {\n  c();"),
    ("java", "class A {\n    int f() {¦}\n}\n", "\n        return 1;\n    "),
    ("rust", "fn f() -> i32 {\n    ¦\n}\n", "let x = vec![1, 2];\n    x.len()"),
    ("ruby", "def f\n  ¦\nend\n", "if a\n    b\n  end"),
    ("shellscript", "case $x in\n  ¦\nesac\n", "a) b ;;\n  c) d ;;"),
    ("yaml", "a:\n  ¦\n", "b: 1\n  c: 2"),
    # a block followed by another clause at its own indentation
    ("python", "def f():\n    if a:\n        ¦\n", "b()\n    else:\n        c()"),
    (
        "python",
        "def f():\n    try:\n        ¦\n",
        "b()\n    except A:\n        c()\n    finally:\n        d()",
    ),
    ("c", "int f() {\n  ¦\n}\n", "int a;\n#ifdef B\n  a = 1;\n#endif\n  return a;"),
    ("python", "¦\n", "def f():\n    return 1\n\n\ndef g():\n    return 2"),
    ("python", "def f():\n    x = '''¦\n", "a\nb\n'''"),
    ("python", "a1 = f(1)\n¦\na3 = f(3)\n", "a2 = f(2)"),  # similar, but not the same
    ("javascript", "a = ¦\n", "<mask>b</mask>;"),
    ("python", "¦\nx = 1\n", "# add this to the list"),
    ("python", "# TODO: implement the others\n¦\n", "x = 1  # todo"),
]


@pytest.mark.parametrize(("language_id", "marked", "text"), NOTHING_AMISS)
def test_a_text_that_fits_is_shown_unchanged(language_id: str, marked: str, text: str) -> None:
    assert text_of(language_id, marked, text) == text


CUT = [
    # repeats the rest of the line
    ("python", "x = foo(¦)\n", "a, b)", "a, b"),
    ("python", "def foo(¦):\n    pass\n", "a, b):", "a, b"),
    ("python", "if ¦:\n    pass\n", "x > 0:", "x > 0"),
    ("python", "x = '¦'\n", "hello'", "hello"),
    ("python", "x = foo(¦, b)\n", "a, b)", "a"),
    ("python", "x = (¦)\n", "foo(a)", "foo(a)"),
    ("python", "x = ¦ + total\n", "1 +", "1"),
    ("javascript", "const a = 1¦;\n", " + 2;", " + 2"),
    ("javascript", "function f() {¦}\n", "\n  return 1;\n}", "\n  return 1;\n"),
    ("javascript", "function f() {¦}\n", "\n  return 1;\n}\n\nfunction g() {\n", "\n  return 1;\n"),
    # repeats the lines below
    ("python", "def f():\n    ¦\n\nx = 1\n", "return 1\n\nx = 1\n", "return 1"),
    ("ruby", "def f\n  ¦\nend\n", "if a\n    b\n  end\nend", "if a\n    b\n  end"),
    ("python", "¦\nimport sys\n", "import os\nimport sys\nimport re", "import os"),
    # brackets
    ("python", "x = ¦\n", "foo(a, b", "foo(a, b)"),
    ("python", "x = foo(¦\n", "a, [b", "a, [b])"),
    ("python", "x = foo(¦\n", "a, b))", "a, b)"),
    ("javascript", "f() {\n  ¦\n}\n", "if (a > 1) {", "if (a > 1) {}"),
    ("go", "func f() {\n\t¦\n}\n", "if a {\n\t\tb(1", "if a {\n\t\tb(1)\n\t}"),
    # errors
    ("python", "def f():\n    ¦\n\nx = 1\n", "a = 1\n    b = 2\n  c = 3", "a = 1\n    b = 2"),
    ("c", "int f() {\n  ¦\n}\n", "int x = 1; x y z", "int x = 1;"),
    ("python", "x = ¦\n", "foo(a) bar baz", "foo(a)"),
    # blank space
    ("python", "x = ¦\n", " 1  \n\n", "1"),
    ("python", "x = [¦ ]\n", "1 ", "1"),
    ("javascript", "function f() {¦}\n", "\n  a();\n\n\n", "\n  a();\n"),
    # indentation
    ("go", "func f() {\n\t¦\n}\n", "x := 1\n    return x", "x := 1\n\treturn x"),
    ("javascript", "f() {\n  a()\n  ¦\n}\n", "if (b) {\n\t\tc()\n\t}", "if (b) {\n    c()\n  }"),
    # loops
    ("python", "def f():\n    ¦\n", "a(1)\n    a(1)\n    a(1)\n    a(1)", "a(1)"),
    ("python", "¦\n", "a = b\nb = c\n" * 3, "a = b\nb = c"),
    ("python", "x = [¦]\n", "None, " * 9, "None"),
    # the end of the block
    (
        "python",
        "class A:\n    def f(self):\n        ¦\n",
        "return 1\n\n    def g(self):\n        return 2",
        "return 1",
    ),
    ("python", "def f():\n    ¦\n", "a = 1\n    return a\n\n\ndef g():\n    return 2", "a = 1\n    return a"),
    ("python", "def f():\n    if a:\n        ¦\n", "b()\n    return 1", "b()"),
    ("python", "def f():¦\n", "\n    return 1\n\n\nclass A:\n    pass", "\n    return 1"),
    ("python", "def f():\n    return 1\n    ¦\n", "x = 1\n\ndef g():\n    return 2", "x = 1"),
    (
        "java",
        "class A {\n  int f() {\n    ¦\n",
        "return 1;\n  }\n\n  int g() {\n    return 2;\n  }",
        "return 1;\n  }",
    ),
    ("ruby", "class A\n  def f\n    ¦\n", "1\n  end\n\n  def g\n    2\n  end\nend", "1\n  end"),
    ("shellscript", "if a; then\n  ¦\n", "b\nfi\nc", "b\nfi"),
    # repeats the lines below with small differences
    ("javascript", "¦\nfoo('a', b);\n", 'bar(1);\nfoo("a",b)', "bar(1);"),
    ("python", "¦\nx = foo( a )\n", "y = 1\nx = foo(a)\nz = 2", "y = 1"),
    # placeholders
    ("python", "def f():\n    ¦\n", "x = 1\n    # Your code here", "x = 1"),
    ("javascript", "f() {\n  ¦\n}\n", "a();\n  // ... existing code ...", "a();"),
    ("python", "x = ¦\n", "foo(1)<|endoftext|>", "foo(1)"),
    ("python", "x = ¦\n", "foo(1)<fim_prefix>x", "foo(1)"),
    # quotes that the editor closed
    ("javascript", "import a from '¦';\n", "./a';", "./a"),
    ("python", 'x = "¦"\n', 'a" + b + "c"', 'a" + b + "c'),
    # invalid and control characters
    ("python", "x = ¦\n", "1\ufffd\ufffd", "1"),
    ("python", "x = ¦\n", "1\x00\x01", "1"),
    ("python", "x = ¦\n", "'é'\x9b", "'é'"),
    ("python", "x = ¦\n", "is_admin\u202e", "is_admin"),
    ("python", "x = ¦  # \u2066a\u2069\n", "b\u2066\u202e", "b\u2066"),
    ("python", "x = ¦\n", "foo\ud83d", "foo"),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), CUT)
def test_text_that_does_not_fit_is_cut_or_corrected(
    language_id: str, marked: str, text: str, shown: str
) -> None:
    assert text_of(language_id, marked, text) == shown


NOTHING = [
    ("python", "x = ¦\n", ""),
    ("python", "x = ¦\n", "  \n \n"),
    ("python", "x = foo(¦)\n", ")"),
    ("javascript", "function f() {¦}\n", "\n}"),
    ("python", "import os\n¦\n", "import os"),
    ("python", "¦\nimport os\n", "import os"),
    ("python", "a = 1\nb = 2\n¦\n", "a = 1\nb = 2"),
    ("python", "x = ¦\n", "a b c"),
    ("python", "def f():\n¦\n\nx = 1\n", "return 1"),
    ("python", "def f():\n    x = 1\n¦\n    y = 2\n", "z = 3"),
    ("python", "def f():\n    ¦\n", "print x"),
    ("python", "x = ¦\n", "= = ="),
    ("python", "def f():\n    ¦\n", "# TODO: implement this"),
    ("python", "def f():\n    ¦\n", "\ndef g():\n    return 1"),
    ("javascript", "¦\nfoo(a);\n", "foo(a)"),
]


@pytest.mark.parametrize(("language_id", "marked", "text"), NOTHING)
def test_nothing_is_shown_if_no_part_of_the_text_fits(language_id: str, marked: str, text: str) -> None:
    assert show(language_id, marked, text) is None


def test_only_the_first_line_is_shown_for_single_line_suggestions() -> None:
    assert text_of("python", "import os\n¦\n", "import sys\nimport re", single_line=True) == "import sys"
    assert text_of("python", "def f():¦\n", "\n    return 1", single_line=True) is None


def test_an_unfinished_last_line_is_dropped() -> None:
    assert show("python", "¦\n", "a = 1\nb = fooba", finished=False) == Fitted("a = 1", 0)
    assert show("python", "x = ¦\n", "fooba", finished=False) == Fitted("fooba", 4)


def test_the_rest_of_the_line_written_twice_is_not_shown() -> None:
    rest = "int at = first[k];"
    assert show("c", f"int f(void) {{\n    ¦{rest}\n}}\n", rest + rest, finished=False) is None


def test_a_text_that_continues_after_the_rest_of_the_line_replaces_the_rest() -> None:
    assert show("python", "def f(¦):\n", "a, b):\n    return a + b\n") == Fitted(
        "a, b):\n    return a + b", 8
    )


@pytest.mark.parametrize(
    ("language_id", "marked", "text"),
    [
        ("python", "if ¦t:\n    x = 1\n", "fit:"),
        ("python", "class ¦brary:\n    x = 1\n", "Library:"),
        ("python", "def ¦width(self):\n    return 1\n", "get_width(self):"),
        ("javascript", "const x = get¦foo(a);\n", "_my_foo(a);"),
    ],
)
def test_a_text_that_ends_with_the_rest_of_a_word_and_line_replaces_it(
    language_id: str, marked: str, text: str
) -> None:
    start, rest = marked.index("¦"), marked.partition("¦")[2].partition("\n")[0]
    for single_line in (True, False):
        assert show(language_id, marked, text, single_line=single_line) == Fitted(text, start + len(rest))


def test_a_word_that_ends_with_the_word_after_the_cursor_does_not_replace_it() -> None:
    assert show("c", "¦long x;\n", "long ") == Fitted("long ", 0)
    assert show("plaintext", "a ¦cat\n", "bobcat ") == Fitted("bobcat ", 2)


@pytest.mark.parametrize("eol", ["\r\n", "\r"])
def test_the_line_ending_is_that_of_the_document(eol: str) -> None:
    marked = f"x = 1{eol}def f():{eol}    ¦{eol}"
    assert text_of("python", marked, "y = 2\n    return y") == f"y = 2{eol}    return y"
    assert text_of("python", marked, "y = 2\r\n    return y") == f"y = 2{eol}    return y"


def test_offsets_are_right_after_non_ascii_characters() -> None:
    assert text_of("python", "é = '𐐷'\nx = foo(¦)  # ü\n", "'ß')") == "'ß'"


def test_syntax_errors_elsewhere_do_not_hide_the_text() -> None:
    assert text_of("python", "x = (1\n\n\ny = ¦\n", "foo(2)") == "foo(2)"


def test_large_documents_are_checked_near_the_cursor() -> None:
    many = "def f(a):\n    return a\n\n\n" * 9000
    assert text_of("python", f"{many}def g(a):\n    return foo(¦)\n\n\n{many}", "a) bar") == "a"
    assert show("python", f"{many}x = ¦\n", "a b c") is None


@pytest.mark.parametrize("module", [argparse, json.decoder, textwrap])
def test_removed_ends_of_real_lines_are_shown_unchanged(module: ModuleType) -> None:
    """Ends of lines removed from real files are shown again."""
    text = Path(str(module.__file__)).read_text(encoding="utf-8")[:60_000]
    text = text[: text.rindex("\n\n\n") + 1]  # to the end of a definition
    lines = [match.span() for match in re.finditer(r"(?<=\n)[ ]*[^\s#].*", text)]
    rng = random.Random(0)
    missed = []
    for start, end in rng.sample(lines, 30):
        start = rng.randrange(start, end)
        middle = text[start:end]
        document = Document("file:///a.py", "a.py", "python", 1, text[:start] + text[end:])
        found = postprocess.fit(middle, document, start, Syntax.of(document), True)
        if found is None or found.text.strip() != middle.strip() or found.end != start:
            missed.append((middle, found))
    assert len(missed) <= 1, missed


PIECES = [
    "a", " ", "\n", "\n    ", "(", ")", "{", "}", "[", "]", "'", '"', ":", ";", "#", "é", "def f():", "if x:",
    "return 1", "\r\n", "\r", "\t", "//", "\x0c", "\u2028", "else", "`", "\\", ",", "=", "\ufffd", "\ud800",
]  # fmt: skip
pieces = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@settings(deadline=None, max_examples=300)
@example("'", "\r\n", "\n'", "python", False)  # a line ending that the parser treats differently from \n
@given(
    pieces, pieces, pieces, st.sampled_from(["python", "javascript", "c", "ruby", "plaintext"]), st.booleans()
)
def test_invariants_hold_for_arbitrary_text(
    before: str, after: str, text: str, language_id: str, single_line: bool
) -> None:
    document = Document("file:///a", "a", language_id, 1, before + after)
    offset = document.offset(*document.position(len(before)))
    syntax = Syntax.of(document)
    found = postprocess.fit(text, document, offset, syntax, single_line)
    if found is None:
        return
    assert found.text.strip()
    line, _ = document.position(offset)
    assert offset <= found.end <= document.span(line)[1]
    assert set(document.eol) >= set(found.text) & {"\r", "\n"}
    assert not single_line or not set(found.text) & {"\r", "\n"}
    assert Syntax.of(document.replace(offset, found.end, found.text, 2)).error_count() <= syntax.error_count()


def test_neither_a_secret_nor_the_rest_of_a_secret_is_shown() -> None:
    token = tokens()[2]
    assert text_of("python", "x = ¦\n", f'"{token}"') is None
    assert text_of("python", f'x = "{token[:20]}¦"\n', token[20:]) is None
    assert text_of("python", 'password = "¦"\n', "Tr0ub4dor&3x") is None
    assert text_of("python", "password = (\n    ¦\n)\n", '"Tr0ub4dor&3x"') is None
    drawn = "a8f3k2m9x7q1w4"
    assert (
        text_of("python", 'API_KEYS = {\n    "a": "x",\n    "b": "y",\n    "c": ¦\n}\n', f'"{drawn}",')
        is None
    )
    assert text_of("python", 'HASHES = {\n    "a": "x",\n    "b": "y",\n    "c": ¦\n}\n', f'"{drawn}",')
    assert text_of("python", f'connect("{token}", ¦)\n', "timeout") == "timeout"
    assert text_of("python", "password = ¦\n", 'os.environ["PASSWORD"]') == 'os.environ["PASSWORD"]'
