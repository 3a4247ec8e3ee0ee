"""Tests of post-processing in languages without a grammar: comments, strings and delimiters. ¦ is the cursor."""

from __future__ import annotations

import pytest
from test_postprocess import show, text_of

PROSE = [
    # quotes that do not delimit strings
    ("emacs-lisp", '(global-set-key (kbd "C-c l") ¦)\n', "'org-store-link"),
    ("emacs-lisp", "(define-key map ¦)\n", "[?\\C-x ?\"] 'f"),
    ("lisp", "(setq x ¦)\n", "'(1 2 3)"),
    ("clojure", "(def x ¦)\n", "'(\\( \\[ \\\")"),
    ("haskell", "f' x = ¦\n", "g' (x + 1)"),
    ("haskell", "f x = ¦\n", "'\"' : g' x"),
    ("ocaml", "let f (x : 'a list) = ¦\n", "g' x '('"),
    ("kotlin", "val c = ¦\n", "'\"'"),
    ("markdown", "Then:\n\n¦\n", "```python\nx = 'a\n```"),
    ("markdown", "¦\n", "The '90s were (mostly) fine, 6'4\" tall"),
    ("latex", "¦\n", "It's ``quoted'' at \\(x\\) in $[0, 1)$"),
    # brackets in prose
    ("markdown", "1) one\n2) two\n¦\n", "3) three\n4) four"),
    ("markdown", "Hello ¦\n", "world :) and more"),
    ("markdown", "Take ¦\n", "$x \\in [0, 1)$ and so on"),
    ("plaintext", "Take ¦\n", "a) this b) that"),
    ("html", "<p>¦</p>\n", "don't :)"),
    ("git-commit", "¦\n", "Fix 1) the first"),
]


@pytest.mark.parametrize(("language_id", "marked", "text"), PROSE)
def test_quotes_and_brackets_that_need_no_partner_do_not_hide_the_text(
    language_id: str, marked: str, text: str
) -> None:
    assert text_of(language_id, marked, text) == text


def test_strings_and_brackets_in_code_without_a_grammar_need_a_partner() -> None:
    assert show("haskell", "f x = ¦\n", '"a') is None
    assert text_of("haskell", "f x = (¦)\n", "g x) y") == "g x"
    assert text_of("csharp", "F(¦);\n", '")", a') == '")", a'
    assert text_of("lisp", "(f ¦)\n", "(g (h x") == "(g (h x))"
    assert text_of("dart", "/* it's ( */ f(¦);\n", "g(1") == "g(1)"


DELIMITERS = [
    ("c", "#include <¦>\n", "stdio.h>\n#include <stdlib.h>", "stdio.h"),
    ("c", "#include <¦>\n", "<stdio.h>", "stdio.h"),
    ("html", "<li>¦</li>\n", "One</li>\n<li>Two</li>", "One"),
    ("html", "<li>¦</li>\n", "<li>One</li>", "One"),
    ("html", "<p><li>¦</li>\n", "<li>One</li>", "One"),
    ("html", "<li>¦</li>\n", "<b>One</b></li>", "<b>One</b>"),
    ("html", "<p><div>¦</div>\n", "<div>One</div>", "One"),
    ("html", "<div>¦</div>\n", "\n  <div>One</div>\n", "\n  <div>One</div>\n"),
    ("html", "  <div>¦</div>\n", "\n    <b>One</b>", "\n    <b>One</b>\n  "),
    ("javascriptreact", "x = (\n  <li>¦</li>\n);\n", "\n    {one.id}", "\n    {one.id}\n  "),
    ("html", "<!-- ¦ -->\n", "<!-- note -->", "note"),
    ("html", "<!-- ¦ -->\n", "note --> <p>", "note"),
    ("rust", "#[derive(¦)]\nstruct A;\n", "Debug, Clone)]\nstruct A;", "Debug, Clone"),
    ("rust", "#[derive(¦)]\nstruct A;\n", "#[derive(Debug)]", "Debug"),
    ("rust", "fn f() {\n    let x: Vec<¦> = y;\n}\n", "Box<dyn Fn() -> i32>>", "Box<dyn Fn() -> i32>"),
    ("jinja", "{{ ¦ }}\n", "a.b }} {{ c }}", "a.b"),
    ("vue", "<p>{{ ¦ }}</p>\n", "a.b }}</p>", "a.b"),
    ("typescript", "const x: Map<¦> = new Map();\n", "string, number>", "string, number"),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), DELIMITERS)
def test_delimiters_are_balanced_with_the_text_after_the_cursor(
    language_id: str, marked: str, text: str, shown: str
) -> None:
    assert text_of(language_id, marked, text) == shown
