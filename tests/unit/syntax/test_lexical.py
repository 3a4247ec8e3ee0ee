"""Comments and strings, told by the table of marks."""

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
def test_spans(language_id: str, text: str, found: list[tuple[str, str]]) -> None:
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
def test_what_is_typed_there_is_part_of(language_id: str, marked: str, kind: str | None) -> None:
    offset = marked.index("¦")
    assert lexical.for_document(language_id, "").at(marked.replace("¦", ""), offset) == kind


def test_the_suffix_tells_where_the_identifier_does_not() -> None:
    assert lexical.for_document("", "a/b.hs") == lexical.for_document("haskell", "")
    assert lexical.for_document("", ".gitignore") == lexical.for_document("ignore", "")
    assert lexical.for_document("", "b") == lexical.UNKNOWN


@pytest.mark.parametrize(
    "language_id", ["dart", "csharp", "haskell", "lisp", "toml", "fsharp", "markdown", "lua"]
)
@pytest.mark.parametrize(
    "unit", ['"', "'", "/*", "(*", "{-", '"""', "\\", "--", "<!--", "--[[", '\\"', "#|", "'\\"]
)
def test_no_text_takes_long(language_id: str, unit: str) -> None:
    lexis = lexical.for_document(language_id, "")

    def seconds(units: int) -> float:
        gc.disable()  # it looks at all that the tests before have left, for each few spans
        began = thread_time()
        lexis.spans(unit * units)
        took = thread_time() - began
        gc.enable()
        return took

    assert seconds(50_000) < 40 * seconds(5_000) + 0.05  # ten times the text; a square would be a hundred
