"""A suggestion's blocks are indented as far as those of the document. ¦ is the cursor."""

from __future__ import annotations

import pytest
from test_postprocess import text_of

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
    # what stands nearby tells
    ("javascript", EIGHT * 9 + "\n" * 60 + THREE + "function g() {¦}\n", BODY, "\n   if (a) {\n      b();\n   }\n"),
    ("css", "a {\n  b: c;\n}\n\nd {\n     e: f;\n}\n¦\n", "g {\n     h: i;\n}", "g {\n     h: i;\n}"),
    # lines that go on keep their distance
    ("javascript", THREE + "function g() {¦}\n", "\n    a(b,\n      c);\n", "\n   a(b,\n     c);\n"),
    # nothing tells
    ("javascript", "function g() {¦}\n", BODY, BODY),
    ("javascript", EIGHT + "function g() {¦}\n", " return 2; ", " return 2; "),
]  # fmt: skip


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), WIDTHS)
def test_blocks_are_indented_as_in_the_document(language_id: str, marked: str, text: str, shown: str) -> None:
    assert text_of(language_id, marked, text) == shown
