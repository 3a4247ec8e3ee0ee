"""Tests of the trigger rules for automatic suggestions. ¦ is the cursor."""

from __future__ import annotations

import pytest

from mercury_lsp.completion import triggers
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax


def refusal(language_id: str, marked: str, **options: bool) -> str | None:
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
def test_automatic_suggestions_are_refused_where_they_are_in_the_way(
    language_id: str, marked: str, reason: str | None
) -> None:
    found = refusal(language_id, marked)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


WELCOME = [
    ("python", ""),
    ("python", "x = fo"),
    ("python", "x = "),
    ("python", "x = 1 "),  # the expression may continue
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
def test_automatic_suggestions_are_allowed_elsewhere(language_id: str, before: str) -> None:
    assert refusal(language_id, before + "¦\n") is None


@pytest.mark.parametrize("rest", [")", "]", ") {", ";", '"', ": 1", ".b", " + c", " // why"])
def test_suggestions_are_allowed_before_a_rest_that_is_not_a_word(rest: str) -> None:
    assert refusal("javascript", f"a(b¦{rest}\n") is None


def test_suggestions_in_strings_and_comments_follow_the_option() -> None:
    for marked in ("x = 'a¦'\n", 'x = "a¦\n', '"""\na ¦\n"""\n', "x = f'{a}¦'\n", "x = 'a;¦'\n"):
        assert "in_strings_and_comments" in (refusal("python", marked, in_strings_and_comments=False) or "")
        assert refusal("python", marked, in_strings_and_comments=True) is None
    for marked in ("x = 1  # a¦\n", "# a;¦\n", "# pass¦\n"):
        assert "in_strings_and_comments" in (refusal("python", marked, in_strings_and_comments=False) or "")
        assert refusal("python", marked, in_strings_and_comments=True) is None
    assert "in_strings_and_comments" in (
        refusal("c", "/* a\n * ¦\n */\n", in_strings_and_comments=False) or ""
    )
    assert "in_strings_and_comments" in (
        refusal("javascript", "x = `a ${b} ¦`\n", in_strings_and_comments=False) or ""
    )
    assert refusal("javascript", "x = `a ${¦}`\n", in_strings_and_comments=False) is None
    assert refusal("c", "/* a */ ¦\n", in_strings_and_comments=False) is None


def test_in_a_language_without_a_grammar_the_rules_look_at_the_line() -> None:
    assert "in_strings_and_comments" in (
        refusal("yaml", "a: 1 # why¦\n", in_strings_and_comments=False) or ""
    )
    assert "in_strings_and_comments" in (refusal("yaml", 'a: "b¦\n', in_strings_and_comments=False) or "")
    assert refusal("yaml", "a: ¦\n") is None
