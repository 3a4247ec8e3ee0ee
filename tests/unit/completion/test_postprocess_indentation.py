"""Tests of indentation: a suggestion's blocks are indented like the document's. ¦ is the cursor."""

from __future__ import annotations

import pytest
from test_postprocess import text_of

from mercury_lsp.syntax.indentation import Indentation

EIGHT = "function f() {\n        return 1;\n}\n\n"
THREE = "function f() {\n   return 1;\n}\n\n"
TABS = "function f() {\n\treturn 1;\n}\n\n"
BODY = "\n    if (a) {\n        b();\n    }\n"

WIDTHS = [
    ("javascript", EIGHT + "function g() {¦}\n", BODY, "\n        if (a) {\n                b();\n        }\n"),
    ("javascript", THREE + "function g() {¦}\n", BODY, "\n   if (a) {\n      b();\n   }\n"),
    ("javascript", TABS + "function g() {¦}\n", BODY, "\n\tif (a) {\n\t\tb();\n\t}\n"),
    ("javascript", EIGHT + "function g() {\n¦\n}\n", "  return 2;", "        return 2;"),
    ("javascript", EIGHT + "function g() {\n        ¦\n}\n", "if (a) {\n            b();\n        }",
     "if (a) {\n                b();\n        }"),
    ("python", "def f():\n  return 1\n\n\ndef g():¦\n", "\n    if a:\n        return 2", "\n  if a:\n    return 2"),
    ("csharp", "class A {\n   int F() {\n      return 1;\n   }\n   int G() {¦}\n}\n", "\n       return 2;",
     "\n      return 2;\n   "),
    # code near the cursor decides
    ("javascript", EIGHT * 9 + "\n" * 60 + THREE + "function g() {¦}\n", BODY, "\n   if (a) {\n      b();\n   }\n"),
    ("css", "a {\n  b: c;\n}\n\nd {\n     e: f;\n}\n¦\n", "g {\n     h: i;\n}", "g {\n     h: i;\n}"),
    # continuation lines keep their distance
    ("javascript", THREE + "function g() {¦}\n", "\n    a(b,\n      c);\n", "\n   a(b,\n     c);\n"),
    # no indentation is known
    ("javascript", "function g() {¦}\n", BODY, BODY),
    ("javascript", EIGHT + "function g() {¦}\n", " return 2; ", " return 2; "),
]  # fmt: skip


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), WIDTHS)
def test_blocks_are_indented_as_in_the_document(language_id: str, marked: str, text: str, shown: str) -> None:
    assert text_of(language_id, marked, text) == shown


TOLD = [
    # the project's settings override the document
    ("javascript", EIGHT + "function g() {¦}\n", Indentation(False, 2), BODY, "\n  if (a) {\n    b();\n  }\n"),
    ("javascript", "function g() {¦}\n", Indentation(None, 8), BODY,
     "\n        if (a) {\n                b();\n        }\n"),
    ("javascript", "function g() {¦}\n", Indentation(True, None), BODY, "\n\tif (a) {\n\t\tb();\n\t}\n"),
    ("javascript", "function g() {¦}\n", Indentation(True, 2), BODY, "\n\tif (a) {\n\t\tb();\n\t}\n"),
    ("python", "def g():¦\n", Indentation(False, 2), "\n\tif a:\n\t\treturn 2", "\n  if a:\n    return 2"),
    # mixing tabs and spaces is an error in Python, so the document overrides the project's settings
    ("python", "def f():\n  return 1\n\n\ndef g():¦\n", Indentation(True, None), "\n    return 2", "\n  return 2"),
    ("javascript", TABS + "function g() {¦}\n", Indentation(False, 2), BODY, "\n\tif (a) {\n\t\tb();\n\t}\n"),
    # the user chose where the line begins
    ("javascript", "function g() {\n      ¦\n}\n", Indentation(False, 2), "if (a) {\n          b();\n      }",
     "if (a) {\n        b();\n      }"),
]  # fmt: skip


@pytest.mark.parametrize(("language_id", "marked", "told", "text", "shown"), TOLD)
def test_blocks_are_indented_as_the_project_settings_say(
    language_id: str, marked: str, told: Indentation, text: str, shown: str
) -> None:
    assert text_of(language_id, marked, text, told=told) == shown
