"""Outlines of files for training and evaluation: definitions, imports, and the nodes from which holes are cut."""

from __future__ import annotations

import re

import pytest
from tree_sitter import Query

from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import LANGUAGES, Language
from mercury_lsp.syntax.tree import Syntax
from model.data.nodes import nodes
from model.data.outlines import OUTLINES


def parse(language_id: str, text: str) -> Syntax:
    return Syntax.of(Document("file:///a", "a", language_id, 1, text))


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_the_outline_of_a_language_is_valid_in_its_grammar(language: Language) -> None:
    grammar = language.grammar()
    assert grammar is not None
    outline = OUTLINES[language.name]
    # CSS and HTML have no definitions that other files use.
    assert bool(outline.definitions) == language.indexed
    assert set(outline.arguments) <= {grammar.node_kind_for_id(i) for i in range(grammar.node_kind_count)}
    for pattern in outline.patterns:
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
    assert re.findall(OUTLINES[name].imports, text, re.MULTILINE) == statements


@pytest.mark.parametrize(
    ("language_id", "text", "holes"),
    [
        (
            "python",
            "def f():\n    if é(x, '𐐷') and y:\n        return g(1)\n",
            [
                ("body", "if é(x, '𐐷') and y:\n        return g(1)"),
                ("condition", "é(x, '𐐷') and y"),
                ("arguments", "x, '𐐷'"),
                ("body", "return g(1)"),
                ("arguments", "1"),
            ],
        ),
        ("python", "f()\ndef g(): x(\n", []),
        ("javascript", "if (a) { f( b ) }", [("condition", "a"), ("body", "f( b )"), ("arguments", "b")]),
        ("c", "int f() { }", []),
        ("shellscript", "for x in y; do\n  z\ndone\n", [("body", "z")]),
        ("rust", "fn f() { g(1) }", [("body", "g(1)"), ("arguments", "1")]),
        ("ruby", "while a do\n  b(1)\nend", [("condition", "a"), ("body", "b(1)"), ("arguments", "1")]),
        ("plaintext", "f(1)", []),
    ],
)
def test_nodes_are_found_with_their_kinds(language_id: str, text: str, holes: list[tuple[str, str]]) -> None:
    assert [(kind, text[start:end]) for start, end, kind in nodes(parse(language_id, text))] == holes


def test_nodes_can_be_limited_to_some_kinds() -> None:
    assert nodes(parse("python", "if f(1): pass"), ["condition"]) == [(3, 7, "condition")]
