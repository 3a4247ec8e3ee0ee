"""Tests of indentation from `.editorconfig` files: the standard's patterns and rules, and hostile files."""

from __future__ import annotations

from time import thread_time

import pytest

from mercury_lsp.context.editorconfig import EditorConfig, indentation
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation


@pytest.mark.parametrize(
    ("glob", "named", "not_named"),
    [
        ("*", ["a.py", "lib/a.py"], []),
        ("*.py", ["a.py", "lib/deep/a.py"], ["a.pyi", "apy"]),
        ("/*.py", ["a.py"], ["lib/a.py"]),
        ("lib/*.py", ["lib/a.py"], ["lib/deep/a.py", "a.py", "x/lib/a.py"]),
        ("lib/**.py", ["lib/a.py", "lib/deep/a.py"], ["a.py"]),
        ("lib/**/a.py", ["lib/a.py", "lib/x/y/a.py"], ["lib/xa.py"]),
        ("**/a.py", ["a.py", "x/a.py"], ["xa.py"]),
        ("a**.py", ["ab.py", "a/b.py", "x/a/b.py"], ["xa.py", "xa/b.py"]),
        ("a?.py", ["ab.py"], ["a.py", "abc.py"]),
        ("[ab].py", ["a.py", "b.py"], ["c.py"]),
        ("[!ab].py", ["c.py"], ["a.py"]),
        ("[a/b].py", ["[a/b].py"], ["a.py"]),
        ("[ab.py", ["[ab.py"], ["a.py"]),
        ("*.{js,ts}", ["a.js", "x/a.ts"], ["a.tsx", "a.{js,ts}"]),
        ("{package.json,*.yml}", ["package.json", "a.yml"], ["a.json"]),
        ("*.{a,b{c,d}}", ["x.a", "x.bc", "x.bd"], ["x.b", "x.c"]),
        ("a{,b}.py", ["a.py", "ab.py"], ["abb.py"]),
        ("{lib,src/**}.py", ["lib.py", "src/x/y.py"], ["src.py"]),
        ("{single}.py", ["{single}.py"], ["single.py"]),
        ("{}.py", ["{}.py"], [".py"]),
        ("{a,b.py", ["{a,b.py"], ["a", "b.py"]),
        ("a}.py", ["a}.py"], []),
        ("{1..3}.py", ["1.py", "3.py"], ["0.py", "4.py", "01.py"]),
        ("{3..-1}.py", ["-1.py", "0.py", "3.py"], ["-2.py", "4.py"]),
        ("\\*.py", ["*.py"], ["a.py"]),
        ("\\{a,b\\}", ["{a,b}"], ["a"]),
    ],
)
def test_patterns_match_as_in_the_standard(glob: str, named: list[str], not_named: list[str]) -> None:
    config = EditorConfig.of(f"[{glob}]\nindent_size = 3\n")
    assert [path for path in [*named, *not_named] if config.properties(path)] == named


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[*]\nindent_style = space\nindent_size = 2\n", Indentation(False, 2)),
        ("\ufeff[*]\r\nINDENT_STYLE=Tab\r\nindent_size=tab\r\ntab_width=4\r\n", Indentation(True, 4)),
        ("[*]\nindent_size = tab\ntab_width = 3\n", Indentation(None, 3)),
        ("[*]\ntab_width = 3\n", NO_INDENTATION),
        ("indent_size = 2\n", NO_INDENTATION),  # before any section
        ("[*]\nindent_size = 2\n[*.py]\nindent_size = 4\n[*.js]\nindent_size = 8\n", Indentation(None, 4)),
        ("[*]\nindent_size = 2\n[*.py]\nindent_size = unset\n", NO_INDENTATION),
        ("[*]\n; indent_size = 2\n# indent_size = 2\nindent_size\nindent_size: 2\n[*\n", NO_INDENTATION),
        ("[*]\nindent_size = 9\nindent_style = both\n", NO_INDENTATION),
        ("[*]\nindent_size = 0\n", NO_INDENTATION),
        ("[*]\nindent_size = " + "9" * 50_000, NO_INDENTATION),
        ("[*]\nindent_size = -2\n", NO_INDENTATION),
        ("[{*.py,}]\nindent_size = 2\n", Indentation(None, 2)),
        ("\0\x1f\ud800[*]\n[*]\nindent_size = 2", Indentation(None, 2)),
    ],
)
def test_a_file_gives_the_indentation_of_a_path(text: str, told: Indentation) -> None:
    assert indentation([EditorConfig.of(text).properties("lib/a.py")]) == told


def test_the_nearest_file_takes_precedence_for_each_property() -> None:
    near, far = {"indent_size": "2"}, {"indent_size": "4", "indent_style": "tab"}
    assert indentation([near, far]) == Indentation(True, 2)
    assert indentation([]) == NO_INDENTATION


@pytest.mark.parametrize(
    ("text", "root"),
    [("root = true\n[*]\n", True), ("ROOT=True", True), ("root = false", False), ("[*]\nroot = true", False)],
)
def test_root_counts_only_before_all_sections(text: str, root: bool) -> None:
    assert EditorConfig.of(text).root == root


SIZE = "\nindent_size=2\n"
HOSTILE = {
    "stars": f"[{'*a' * 500}b]{SIZE}" * 60,
    "double stars": f"[{'**a' * 300}b]{SIZE}" * 60,
    "stars after double stars": f"[**a*c*b]{SIZE}" * 4_000,
    "question marks": f"[{'*?' * 500}]{SIZE}" * 60,
    "choices": f"[{'{a,b}' * 200}]{SIZE}" * 60,
    "nested": f"[{'{a,' * 300}{'}' * 300}]{SIZE}" * 60,
    "single numbers": f"[{'{1..1}' * 170}]{SIZE}" * 60,
    "many numbers": f"[{{0..999999999}}*]{SIZE}" * 2_000,
    "open braces": f"[{'{' * 1_000}]{SIZE}" * 60,
    "open sets": f"[{'[' * 1_000}]{SIZE}" * 60,
    "sets of folders": f"[{'[/' * 500}]]{SIZE}" * 60,
    "sections": f"[*?*]{SIZE}" * 3_000,
    "one line": "[" * 65_536,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_take_linear_time(name: str) -> None:
    """Compare with an ordinary file of the same size; backtracking patterns take hours."""

    def seconds(text: str) -> float:
        began = thread_time()
        EditorConfig.of(text[:65_536]).properties("a" * 200 + ".py")
        return thread_time() - began

    assert seconds(HOSTILE[name]) < 100 * seconds(f"[*.py]{SIZE}" * 4_000)


def test_sections_beyond_the_limit_of_work_are_ignored() -> None:
    config = EditorConfig.of(f"[*]{SIZE}" + f"[{'{a,b}' * 6}]{SIZE}" * 200 + "[*]\nindent_size=4\n")
    assert config.properties("x.py") == {"indent_size": "2"}
