"""Where nothing is suggested unasked. ¦ is the cursor."""

from __future__ import annotations

import pytest

from mercury_lsp.completion import triggers
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax


def refused(language_id: str, marked: str, **options: bool) -> str | None:
    document = Document("file:///a", "a", language_id, 1, marked.replace("¦", ""))
    return triggers.refusal_reason(Syntax.of(document), marked.index("¦"), **options)


REFUSED = [
    ("python", "x = fo¦o\n", "middle of a word"),
    ("python", "x = straß¦e\n", "middle of a word"),
    ("python", "x = _¦1\n", "middle of a word"),
    ("plaintext", "some wo¦rds", "middle of a word"),
    ("python", "x = ¦foo\n", "before a word"),
    ("python", "foo(¦bar)\n", "before a word"),
    ("python", "def f():\n  ¦  return 1\n", "indentation"),
    ("go", "func f() {\n¦\treturn\n}\n", "indentation"),
    ("python", "def f():\n    ¦return 1\n", "indentation"),
    ("javascript", "a();¦\n", "complete"),
    ("javascript", "a(); ¦\n", "complete"),
    ("javascript", "a();¦  // why\n", None),
    ("c", "int x = 1;¦\r\n", "complete"),
    ("java", "class A {\n  int x = f(1);¦\n}\n", "complete"),
    ("javascript", "};¦", "complete"),
    ("python", "def f():\n    pass¦\n", "complete"),
    ("python", "for x in y:\n    continue ¦\n", "complete"),
]


@pytest.mark.parametrize(("language_id", "marked", "reason"), REFUSED)
def test_where_a_suggestion_would_be_in_the_way(language_id: str, marked: str, reason: str | None) -> None:
    found = refused(language_id, marked)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


WELCOME = [
    ("python", ""),
    ("python", "x = fo"),
    ("python", "x = "),
    ("python", "x = 1 "),  # it may go on
    ("python", "return x"),
    ("python", "passed"),
    ("python", "x = pass_"),
    ("python", "def f():\n    "),
    ("javascript", "for (let i = 0;"),
    ("javascript", "for (let i = 0; i < n;"),
    ("javascript", "a(() => {\n  b();\n}"),
    ("javascript", "if (a) {\n  b();\n}"),
    ("javascript", "a();\n"),
    ("javascript", "a(); b"),
    ("javascript", "pass"),
    ("go", "x := 1"),
    ("shellscript", "# a;"),
    ("shellscript", "if true;"),
    ("plaintext", "words; words;"),
    ("plaintext", "some words and "),
]


@pytest.mark.parametrize(("language_id", "before"), WELCOME)
def test_where_it_is_welcome(language_id: str, before: str) -> None:
    assert refused(language_id, before + "¦\n") is None


@pytest.mark.parametrize("rest", [")", "]", ") {", ";", '"', ": 1", ".b", " + c", " // why"])
def test_before_a_rest_that_is_no_word_it_is_welcome(rest: str) -> None:
    assert refused("javascript", f"a(b¦{rest}\n") is None


def test_strings_and_comments_are_as_the_options_say() -> None:
    for marked in ("x = 'a¦'\n", 'x = "a¦\n', '"""\na ¦\n"""\n', "x = f'{a}¦'\n", "x = 'a;¦'\n"):
        assert "in_strings_and_comments" in (refused("python", marked, in_strings_and_comments=False) or "")
        assert refused("python", marked, in_strings_and_comments=True) is None
    for marked in ("x = 1  # a¦\n", "# a;¦\n", "# pass¦\n"):
        assert "in_strings_and_comments" in (refused("python", marked, in_strings_and_comments=False) or "")
        assert refused("python", marked, in_strings_and_comments=True) is None
    assert "in_strings_and_comments" in (
        refused("c", "/* a\n * ¦\n */\n", in_strings_and_comments=False) or ""
    )
    assert "in_strings_and_comments" in (
        refused("javascript", "x = `a ${b} ¦`\n", in_strings_and_comments=False) or ""
    )
    assert refused("javascript", "x = `a ${¦}`\n", in_strings_and_comments=False) is None
    assert refused("c", "/* a */ ¦\n", in_strings_and_comments=False) is None


def test_a_file_of_a_language_without_grammar_is_judged_by_its_line() -> None:
    assert "in_strings_and_comments" in (
        refused("yaml", "a: 1 # why¦\n", in_strings_and_comments=False) or ""
    )
    assert "in_strings_and_comments" in (refused("yaml", 'a: "b¦\n', in_strings_and_comments=False) or "")
    assert refused("yaml", "a: ¦\n") is None
