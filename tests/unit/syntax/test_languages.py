"""The table of languages against the grammars that are installed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from mercury_lsp.completion.fitting.insertion import Fit, InsertionPoint
from mercury_lsp.syntax import languages
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import LANGUAGES, Language, for_document
from mercury_lsp.syntax.tree import Syntax


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_every_kind_is_in_its_grammar(language: Language) -> None:
    grammar = language.grammar()
    assert grammar is not None
    kinds = {grammar.node_kind_for_id(i) for i in range(grammar.node_kind_count)}
    for names in (
        language.comments,
        language.strings,
        language.interpolations,
        language.bodies,
        language.strays,
    ):
        assert set(names) <= kinds
    re.compile(language.opener)


def test_no_identifier_or_suffix_twice() -> None:
    ids = [identifier for language in LANGUAGES for identifier in language.ids]
    suffixes = [suffix for language in LANGUAGES for suffix in language.suffixes]
    assert len(ids) == len(set(ids))
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize(
    ("language_id", "path", "name"),
    [
        ("python", "", "Python"),
        ("python", "a.txt", "Python"),
        ("typescriptreact", "", "TSX"),
        ("javascriptreact", "", "JavaScript"),
        ("shellscript", "", "Bash"),
        ("cpp", "a.h", "C++"),
        ("", "a/b/c.RS", "Rust"),
        ("plaintext", "a.go", "Go"),
        ("c++", "a.cc", "C++"),
        ("yaml", "a.yml", None),
        ("csharp", "", "C#"),
        ("", "a/b.cs", "C#"),
        ("", "build.gradle.kts", "Kotlin"),
        ("html", "", "HTML"),
        ("scss", "a.scss", None),
        ("", "Makefile", None),
        ("", "", None),
    ],
)
def test_for_document(language_id: str, path: str, name: str | None) -> None:
    found = for_document(language_id, path)
    assert (found and found.name) == name


def test_a_missing_grammar_is_no_error() -> None:
    assert Language("None", (), (), "tree_sitter_of_no_language").grammar() is None
    assert Language("None", (), (), "tree_sitter_python", "no_function").grammar() is None


@pytest.mark.integration
def test_grammars_are_imported_when_needed() -> None:
    script = (
        f"import sys, {languages.__name__} as languages\n"
        "assert not [m for m in sys.modules if m.startswith('tree_sitter_')]\n"
        "languages.for_document('go', '').grammar()\n"
        "assert [m for m in sys.modules if m.startswith('tree_sitter_') and '.' not in m] == ['tree_sitter_go']\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("language_id", "text", "found"),
    [
        (
            "csharp",
            "f('\"', @\"a\\\"); // it's",
            {"'\"'": "string", '@"a\\"': "string", "// it's": "comment"},
        ),
        ("csharp", 'f($"a {b("c")} d"); /* e */', {'"c"': "string", "/* e */": "comment", "b(": None}),
        ("kotlin", 'f("a ${b} c") // d', {"a ": "string", "b": None, "// d": "comment"}),
        ("swift", 'f("a \\(bb) c") // d', {"a ": "string", "bb": None, "// d": "comment"}),
        ("lua", "f([[ a ]], 'b') -- c", {" a ": "string", "b": "string", "-- c": "comment"}),
        ("css", "a { b: 'c'; } /* d */", {"c": "string", "/* d": "comment", "b: ": None}),
        ("html", '<p a="b">c<!-- d --></p>', {"b": None, "c": None, "<!-- d": "comment"}),
    ],
)
def test_strings_and_comments_are_the_grammars(
    language_id: str, text: str, found: dict[str, str | None]
) -> None:
    syntax = Syntax.of(Document("file:///a", "a", language_id, 1, text))
    assert syntax.tree is not None and syntax.error_count() == 0
    assert {part: syntax.text_around(text.index(part) + len(part) - 1) for part in found} == found


@pytest.mark.parametrize(
    ("language_id", "marked", "inserted", "fit"),
    [
        ("csharp", "class A { void F() { f(¦); } }", "g(1)", Fit.SOUND),
        ("csharp", "class A { void F() { f(¦); } }", "g(1", Fit.BROKEN),
        ("csharp", 'class A { void F() { f("¦"); } }', "a)", Fit.SOUND),
        ("kotlin", "fun f() {\n    g(¦)\n}\n", "1", Fit.SOUND),
        ("kotlin", "fun f() {\n    g(¦)\n}\n", "1]", Fit.BROKEN),
        ("swift", "func f() {\n    g(¦)\n}\n", "1", Fit.SOUND),
        ("swift", "func f() {\n    g(¦)\n}\n", "{ 1", Fit.BROKEN),
        ("lua", "f(¦)\n", "'('", Fit.SOUND),
        ("lua", "f(¦)\n", "g(", Fit.BROKEN),
        ("css", "a {\n  ¦\n}\n", "b: c;", Fit.SOUND),
        ("css", "a {\n  ¦\n}\n", "b: c; }", Fit.BROKEN),
        ("html", "<p>¦</p>\n", "<b>a</b>", Fit.SOUND),
        ("html", "<p>¦</p>\n", "a</b>", Fit.BROKEN),
    ],
)
def test_brackets_and_tags_are_the_grammars(language_id: str, marked: str, inserted: str, fit: Fit) -> None:
    offset = marked.index("¦")
    syntax = Syntax.of(Document("file:///a", "a", language_id, 1, marked.replace("¦", "")))
    assert InsertionPoint(syntax, offset).try_out(inserted, offset).fit == fit
