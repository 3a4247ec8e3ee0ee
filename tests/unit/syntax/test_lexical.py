"""Tests of comments and strings in languages without a grammar."""

from __future__ import annotations

import gc
from time import thread_time

import pytest

from mercury_lsp.syntax import lexical


def spans(language_id: str, text: str) -> list[tuple[str, str]]:
    lexis = lexical.for_document(language_id, "")
    return [(text[span.start : span.end], span.kind) for span in lexis.spans(text)]


@pytest.mark.parametrize(
    ("language_id", "text", "found"),
    [
        ("dart", "f(1); // it's\n", [("// it's", "comment")]),
        (
            "csharp",
            'f(\'"\', "//") /* a\nb */',
            [("'\"'", "string"), ('"//"', "string"), ("/* a\nb */", "comment")],
        ),
        ("yaml", "a: b#c # d\ne: it's", [("# d", "comment")]),
        ("sql", "x = 'a' -- b", [("'a'", "string"), ("-- b", "comment")]),
        ("lua", "--[[ a\nb ]] c -- d", [("--[[ a\nb ]]", "comment"), ("-- d", "comment")]),
        ("haskell", "a' --> b -- c", [("-- c", "comment")]),
        ("clojure", '\\" "a;b" ; c', [('\\"', "string"), ('"a;b"', "string"), ("; c", "comment")]),
        ("toml", '"""a\n"b" """ # c', [('"""a\n"b" """', "string"), ("# c", "comment")]),
        ("latex", "50\\% of % this", [("\\%", "string"), ("% this", "comment")]),
        ("markdown", "it's \"so # <!-- a -->", [("<!-- a -->", "comment")]),
        ("unheard-of", "a // b\n  // c", [("  // c", "comment")]),
    ],
)
def test_spans_of_comments_and_strings(language_id: str, text: str, found: list[tuple[str, str]]) -> None:
    assert spans(language_id, text) == found


@pytest.mark.parametrize(
    ("language_id", "marked", "kind"),
    [
        ("dart", "x; // a¦\n", "comment"),
        ("dart", "x; // a\n¦", None),
        ("dart", "/* a */¦", None),
        ("dart", "/*/¦", "comment"),
        ("dart", 'x = "¦', "string"),
        ("dart", 'x = "a"¦', None),
        ("dart", 'x = "a\\"¦', "string"),
        ("dart", 'x = """a\n¦b"""', "string"),
        ("dart", "¦// a", None),
    ],
)
def test_text_typed_at_the_cursor_belongs_to_a_comment_or_string(
    language_id: str, marked: str, kind: str | None
) -> None:
    offset = marked.index("¦")
    assert lexical.for_document(language_id, "").at(marked.replace("¦", ""), offset) == kind


def test_the_suffix_decides_if_the_identifier_is_unknown() -> None:
    assert lexical.for_document("", "a/b.hs") == lexical.for_document("haskell", "")
    assert lexical.for_document("", ".gitignore") == lexical.for_document("ignore", "")
    assert lexical.for_document("", "b") == lexical.UNKNOWN


@pytest.mark.parametrize(
    "language_id", ["dart", "csharp", "haskell", "lisp", "toml", "fsharp", "markdown", "lua"]
)
@pytest.mark.parametrize(
    "unit", ['"', "'", "/*", "(*", "{-", '"""', "\\", "--", "<!--", "--[[", '\\"', "#|", "'\\"]
)
def test_hostile_texts_take_linear_time(language_id: str, unit: str) -> None:
    lexis = lexical.for_document(language_id, "")

    def seconds(units: int) -> float:
        # The garbage collector would scan the objects of earlier tests every few spans.
        gc.disable()
        began = thread_time()
        lexis.spans(unit * units)
        took = thread_time() - began
        gc.enable()
        return took

    # The text is 10 times as long; quadratic time would be 100 times as long.
    assert seconds(50_000) < 40 * seconds(5_000) + 0.05
