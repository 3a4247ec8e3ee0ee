"""What is shown where there is no grammar: comments, strings, brackets and other delimiters. ¦ is the cursor."""

from __future__ import annotations

import pytest
from test_postprocess import show, text_of

PROSE = [
    # quotes that are no strings
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
    # brackets of prose
    ("markdown", "1) one\n2) two\n¦\n", "3) three\n4) four"),
    ("markdown", "Hello ¦\n", "world :) and more"),
    ("markdown", "Take ¦\n", "$x \\in [0, 1)$ and so on"),
    ("plaintext", "Take ¦\n", "a) this b) that"),
    ("html", "<p>¦</p>\n", "don't :)"),
    ("git-commit", "¦\n", "Fix 1) the first"),
]


@pytest.mark.parametrize(("language_id", "marked", "text"), PROSE)
def test_quotes_and_brackets_that_need_no_partner_withhold_nothing(
    language_id: str, marked: str, text: str
) -> None:
    assert text_of(language_id, marked, text) == text


def test_strings_and_brackets_of_code_without_a_grammar_still_need_theirs() -> None:
    assert show("haskell", "f x = ¦\n", '"a') is None
    assert text_of("haskell", "f x = (¦)\n", "g x) y") == "g x"
    assert text_of("csharp", "F(¦);\n", '")", a') == '")", a'
    assert text_of("lisp", "(f ¦)\n", "(g (h x") == "(g (h x))"
    assert text_of("dart", "/* it's ( */ f(¦);\n", "g(1") == "g(1)"
