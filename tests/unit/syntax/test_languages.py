"""The table of languages against the grammars that are installed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from tree_sitter import Query

from mercury_lsp.completion.fitting.insertion import Fit, Site
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
        language.definitions,
        language.bodies,
        language.strays,
        language.arguments,
    ):
        assert set(names) <= kinds
    re.compile(language.opener)


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_the_outline_is_a_query_of_its_grammar(language: Language) -> None:
    grammar = language.grammar()
    assert grammar is not None
    assert bool(language.outline) != (language.name in ("CSS", "HTML"))  # nothing that other files use
    for pattern in language.outline:
        Query(grammar, f"({pattern}) @definition")
        assert "@name" in pattern


@pytest.mark.parametrize(
    ("name", "text", "statements"),
    [
        (
            "Python",
            "import os\nfrom a import (\n    b,\n    c,\n)\n    from .d import e\nimported = 1\n",
            ["import os", "from a import (\n    b,\n    c,\n)", "    from .d import e"],
        ),
        (
            "TypeScript",
            "import { a,\n  b } from './c';\nimport 'd';\nexport * from \"e\";\nexport const x = 'y';\n",
            ["import { a,\n  b } from './c';", "import 'd';", 'export * from "e";'],
        ),
        ("JavaScript", "const a = require('b');\nconst c = d('e');\n", ["const a = require('b');"]),
        ("Go", 'import "a"\nimport (\n\t"b"\n)\nvar c = 1\n', ['import "a"', 'import (\n\t"b"\n)']),
        ("Rust", "use a::{b,\n c};\nmod d;\nmod e {}\nlet used = 1;\n", ["use a::{b,\n c};", "mod d;"]),
        ("C", '#include <a.h>\n# include "b.h"\n#if c\n', ["#include <a.h>", '# include "b.h"']),
        ("C++", "#include <a>\nusing std::b;\n", ["#include <a>", "using std::b;"]),
        ("Java", "import a.b.C;\nimport static d.E.f;\nint i;\n", ["import a.b.C;", "import static d.E.f;"]),
        ("Bash", ". ./a.sh\nsource b.sh\nc\n", [". ./a.sh", "source b.sh"]),
        ("PHP", "use A\\B;\nrequire_once 'c.php';\n$d = 1;\n", ["use A\\B;", "require_once 'c.php';"]),
        ("Ruby", "require 'a'\nrequire_relative 'b'\nc = 1\n", ["require 'a'", "require_relative 'b'"]),
        ("C#", "using A.B;\nglobal using C;\nusing (var d = e) { }\n", ["using A.B;", "global using C;"]),
        ("Kotlin", "import a.b\nimport c.d as e\nval imported = 1\n", ["import a.b", "import c.d as e"]),
        ("Swift", "import A\n@testable import B\nlet c = 1\n", ["import A", "@testable import B"]),
        ("Lua", "local a = require('b')\nrequire 'c'\nd()\n", ["local a = require('b')", "require 'c'"]),
    ],
)
def test_imports_are_found(name: str, text: str, statements: list[str]) -> None:
    language = next(language for language in LANGUAGES if language.name == name)
    assert re.findall(language.imports, text, re.MULTILINE) == statements


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
    assert syntax.tree is not None and syntax.errors() == 0
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
    assert Site(syntax, offset).try_out(inserted, offset).fit == fit
