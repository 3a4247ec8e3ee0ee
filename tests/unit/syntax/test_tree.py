"""Strings, comments, scopes, holes, errors, and where a completion runs over several lines. ¦ is the cursor."""

from __future__ import annotations

import threading
import time

import pytest

from mercury_lsp.syntax import languages
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import MAX_PARSED_CHARACTERS, Syntax


def parse(language_id: str, text: str) -> Syntax:
    return Syntax.of(Document("file:///a", "a", language_id, 1, text))


def at_cursor(language_id: str, marked: str) -> tuple[Syntax, int]:
    assert marked.count("¦") == 1
    return parse(language_id, marked.replace("¦", "")), marked.index("¦")


BODIES = [
    ("python", "def f():¦"),
    ("python", "def f():\n    ¦"),
    ("python", "def f():\n¦"),
    ("python", "def f(a,\n      b):\n    ¦\n\n\ndef g(): pass\n"),
    ("python", 'def f():\n    """What f does:"""\n    ¦\n\ndef g(): pass\n'),
    ("python", 'def f():\n    """What\n\n    f does.\n    """\n    ¦\n'),
    ("python", "class A:\n    def f(self):\n        ¦"),
    ("python", "class A:\n    def f(self):\n        ¦\n    def g(self):\n        pass\n"),
    ("python", "if x:  # why\n    # because:\n    ¦\n"),
    ("python", "if x:\n    ¦\nelse:\n    pass\n"),
    ("python", "if x:\n    y\nelse:¦"),
    ("python", "async with a as b:\n    ¦"),
    ("python", "é = 'ü𐐷'\ndef f():\n    ¦"),
    ("python", "def f(x='):'):\r\n    ¦\r\n"),
    ("javascript", "function f() {¦}"),
    ("javascript", "function f() {\n  ¦\n}\n"),
    ("javascript", "const f = (a) => {¦\n"),
    ("javascript", "on('x', function () {¦});"),
    ("javascript", "switch (x) {\n  case 1:\n    ¦\n  case 2:\n    break;\n}"),
    ("typescript", "interface A {\n  ¦\n}"),
    ("typescript", "class A {\n  f(): void {\n    // nothing yet\n    ¦\n  }\n}"),
    ("typescriptreact", "const A = () => {\n  ¦\n}"),
    ("go", "func f() {\n\t¦\n}\n"),
    ("go", "type A struct {¦"),
    ("rust", "fn f<'a>(x: &'a str) -> i32 {\n    ¦\n}"),
    ("rust", "    match x {\n        ¦\n    }\n"),
    ("c", "int f(int a,\n      int b) {\n  ¦\n}\n"),
    ("c", "int f()\n{\n  ¦\n}\n"),
    ("c", "int f() {\n  ¦\n\nint g() { return 1; }\n"),
    ("cpp", "namespace a {\nclass B {\n public:\n  B() {¦}\n};\n}"),
    ("java", "class A {\n    void f() {\n        ¦\n    }\n}"),
    ("shellscript", "if true; then\n  ¦\nfi"),
    ("shellscript", "for x in a; do ¦"),
    ("shellscript", "case $x in\n  a)\n    ¦\n    ;;\nesac"),
    ("shellscript", "f() {\n  ¦\n}"),
    ("php", "<?php\nfunction f() {\n    ¦\n}"),
    ("php", "<?php\nforeach ($a as $b):\n  ¦\nendforeach;"),
    ("ruby", "def f\n  ¦\nend"),
    ("ruby", "class A < B\n  ¦"),
    ("ruby", "a.each do |b|\n  ¦\nend"),
    ("ruby", "a.map { |b|¦"),
    ("yaml", "a:\n  ¦"),
    ("lua", "if x then\n  ¦"),
]

LINES = [
    ("python", "¦"),
    ("python", "x = ¦"),
    ("python", "def f(¦"),
    ("python", "def f(¦):\n    pass"),
    ("python", "def f():\n    re¦"),
    ("python", "def f():\n    x = 1\n    ¦\n"),
    ("python", "def f():\n    ¦\n    return 1\n"),
    ("python", "def f():¦\n    return 1\n"),
    ("python", 'def f():\n    """Doc"""\n    ¦\n    return 1\n'),
    ("python", "x = {'a':¦\n"),
    ("python", "a[1:¦"),
    ("python", "x = 'if y:¦'"),
    ("python", "# if x:¦"),
    ("python", "# if x:\n¦"),
    ("python", "'''\nif x:\n    ¦\n'''"),
    ("python", "foo(\n    ¦\n)"),
    ("python", "def f(): return 1\n¦\n"),
    ("javascript", "const f = (a) => {\n  ¦\n  return 1;\n}"),
    ("javascript", "if (x) {¦ y }"),
    ("javascript", "if (x) ¦"),
    ("javascript", "// {¦"),
    ("javascript", "x = `{\n¦`"),
    ("c", "int f() {\n  return 1;\n  ¦\n}"),
    ("c", "#include ¦"),
    ("ruby", "if x then y end\n¦"),
    ("ruby", "def f = 1\n¦"),
    ("shellscript", "x=$(foo)\n¦"),
    ("yaml", "a: b¦"),
    ("plaintext", "Some words¦"),
]


@pytest.mark.parametrize(("language_id", "marked"), BODIES)
def test_several_lines_where_an_empty_body_begins(language_id: str, marked: str) -> None:
    syntax, offset = at_cursor(language_id, marked)
    assert syntax.allows_multiline(offset)


@pytest.mark.parametrize(("language_id", "marked"), LINES)
def test_one_line_elsewhere(language_id: str, marked: str) -> None:
    syntax, offset = at_cursor(language_id, marked)
    assert not syntax.allows_multiline(offset)


TEXT = [
    ("python", "x = 'ab¦c'\ny = 1\n"),
    ("python", "x = 'ab¦\ny = 1\n"),
    ("python", 'def f():\n    """What ¦\n    x = 1\n'),
    ("python", 'def f():\n    """What\n    ¦\n    """\n'),
    ("python", "# a¦"),
    ("python", "# ¦a\nb"),
    ("python", "x = 1  # é¦\n"),
    ("javascript", "x = `a¦"),
    ("javascript", "f('a¦"),
    ("javascript", "/* a¦ */"),
    ("javascript", "x = /a¦b/"),
    ("c", 'char *s = "a¦'),
    ("go", "x := `a\n¦`"),
    ("rust", "// it's¦"),
    ("ruby", "puts 'a¦'"),
    ("shellscript", 'x="a¦'),
    ("php", "<?php $a = 'b¦';"),
    ("java", 'String s = "a¦";'),
    ("yaml", "# a¦"),
]

CODE = [
    ("python", "¦'a'"),
    ("python", "'a'¦"),
    ("python", "f'a{b¦}'"),
    ("python", "# a\n¦"),
    ("python", "x = don¦"),
    ("javascript", "`a ${b¦}`"),
    ("javascript", "/* a */¦"),
    ("rust", "let x: &'a ¦"),
    ("rust", "fn f<'a>(x: &'a str, ¦"),
    ("shellscript", 'x="$(ls ¦)"'),
    ("plaintext", "I don't know¦"),
    ("yaml", "¦"),
]


@pytest.mark.parametrize(("language_id", "marked"), TEXT)
def test_inside_of_strings_and_comments(language_id: str, marked: str) -> None:
    syntax, offset = at_cursor(language_id, marked)
    assert syntax.in_string_or_comment(offset)


@pytest.mark.parametrize(("language_id", "marked"), CODE)
def test_outside_of_strings_and_comments(language_id: str, marked: str) -> None:
    syntax, offset = at_cursor(language_id, marked)
    assert not syntax.in_string_or_comment(offset)


def test_errors() -> None:
    assert parse("python", "x = 1\n").error_count() == 0
    assert parse("python", "x = (1\n").error_count() > 0
    assert parse("c", "int f() { return 1 }").error_count() == 1  # a missing ;
    assert parse("plaintext", "(((").error_count() == 0


@pytest.mark.parametrize("eol", ["\r\n", "\r"])
def test_other_line_endings_parse_alike(eol: str) -> None:
    text = f"def f():{eol}    x = 1{eol}{eol}{eol}y = 2{eol}"
    syntax = parse("python", text)
    assert syntax.error_count() == 0


def test_odd_characters_parse() -> None:
    assert parse("python", "\ufeffx\u00e9 = '\ud800 \u2028'\x0c\n").error_count() == 0
    assert parse("python", "x = 1\n\x00\x00").error_count() > 0


def test_a_large_text_is_judged_by_its_lines() -> None:
    text = "x = 1\n" * (MAX_PARSED_CHARACTERS // 6 + 1) + "def f():\n    "
    syntax = parse("python", text)
    assert syntax.tree is None
    assert syntax.allows_multiline(len(text))
    assert not syntax.allows_multiline(4)


def test_without_its_grammar_a_language_is_judged_by_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "_grammar", lambda module, function: None)
    syntax, offset = at_cursor("python", "if x:\n    # because\n    ¦")
    assert syntax.tree is None and syntax.language is not None
    assert syntax.allows_multiline(offset)
    assert syntax.allows_multiline(len("if x:"))
    assert not syntax.allows_multiline(len("if x"))
    assert syntax.in_string_or_comment(offset - 6)
    assert syntax.error_count() == 0


def test_a_large_file_keeps_no_other_thread_waiting() -> None:
    text = "def f(a, b):\n    return [a, (b + 1), {'x': a}]\n\n\n" * 18_000  # 900,000 characters
    gaps, over = [0.0], threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not over.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.perf_counter()
    syntax = Syntax.of(Document("", "a.py", "python", 1, text))
    took = time.perf_counter() - began
    over.set()
    thread.join()
    assert syntax.tree is not None
    assert max(gaps) < took / 2  # it was all of it


def test_a_parse_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def f(a):\n    return a\n" * 20_000
    document = Document("", "a.py", "python", 1, text)
    whole = Syntax.of(document)
    monkeypatch.setattr("mercury_lsp.syntax.parsing.PARSE_SECONDS", 0.0)
    monkeypatch.setattr("mercury_lsp.syntax.parsing.PARSE_SECONDS_PER_CHARACTER", 0.0)
    late = Syntax.of(document)
    assert whole.tree is not None and late.tree is None
    assert late.allows_multiline(len("def f(a):\n    ")) is False
    assert whole.replaced(0, 0, "x = 1\n").tree is None


@pytest.mark.parametrize(
    ("language", "text", "kind"),
    [
        ("python", 'def f(x):\n    """Of it.\n\n    more ¦\n    return x\n', "string"),
        ("python", 'def f(x):\n    """Of it."""\n    y = (\n    more ¦\n', None),
        ("javascript", "/**\n * more ¦\nfunction f() { return 'a'; }\n", "comment"),
        ("javascript", "const s = `one\n  more ¦\nfunction f() { return 1; }\n", "string"),
        ("javascript", "const s = `one`;\nf(/* two */\nmore ¦\n", None),
        ("csharp", "F(1, // one\n);\nF(2, ¦// two);\n", None),
        ("go", "package a\n\nvar s = `one\n more ¦\nfunc f() {}\n", "string"),
        ("c", "/* one\n * more ¦\nint f() {}\n", "comment"),
    ],
)
def test_comments_and_strings_that_have_no_end_yet(language: str, text: str, kind: str | None) -> None:
    syntax, offset = at_cursor(language, text)
    assert syntax.text_around(offset) == kind
