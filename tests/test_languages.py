"""The table of languages against the grammars that are installed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from mercury_lsp.context import languages
from mercury_lsp.context.languages import LANGUAGES, Language, for_document


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


def test_grammars_are_imported_when_needed() -> None:
    script = (
        f"import sys, {languages.__name__} as languages\n"
        "assert not [m for m in sys.modules if m.startswith('tree_sitter_')]\n"
        "languages.for_document('go', '').grammar()\n"
        "assert [m for m in sys.modules if m.startswith('tree_sitter_') and '.' not in m] == ['tree_sitter_go']\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
