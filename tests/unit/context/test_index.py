"""What is read of a file, and how it is found again."""

from __future__ import annotations

import random

import pytest

from mercury_lsp.context.retrieval.index import (
    CHARACTERS,
    CHUNK,
    COMMON,
    DEFINITIONS,
    EMPTY,
    MAX_FILE_CHARACTERS,
    Library,
    read,
    words,
)

PYTHON = '''"""A module."""

import os


class Stack:
    """Last in, first out."""

    def push(self, item: int) -> None:
        """Put an item on top."""
        def inner() -> None: ...

        self.items.append(item)


def empty(
    stack: Stack,
) -> bool:
    """Whether nothing is left."""
    return not stack.items
'''


def outline(path: str, text: str) -> list[tuple[str, str]]:
    return [(found.owner, found.name) for found in read(path, text).definitions]


def test_definitions_are_read_with_their_signatures() -> None:
    stack, push, empty = read("stack.py", PYTHON).definitions
    assert (stack.name, stack.kind, stack.owner) == ("Stack", "type", "")
    assert (push.name, push.kind, push.owner) == ("push", "callable", "Stack")
    assert empty.text.split("\n")[0] == "def empty("
    assert "Whether nothing is left" in empty.text
    assert push.text.startswith("    def push(self, item: int) -> None:\n")
    lines = PYTHON.split("\n")
    for found in (stack, push, empty):
        assert "\n".join(lines[found.line : found.last + 1]).rstrip() == found.text


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "a.js",
            "function go() {}\nclass Ab { me() {} }\nconst it = () => 1;\n",
            [("", "go"), ("", "Ab"), ("Ab", "me"), ("", "it")],
        ),
        (
            "a.ts",
            "export interface Shape { size: number }\ntype Name = string;\nenum Kind { One }\n",
            [("", "Shape"), ("", "Name"), ("", "Kind")],
        ),
        (
            "a.go",
            "package a\n\ntype Pool struct{}\n\nfunc (p *Pool) Run() {}\n",
            [("", "Pool"), ("Pool", "Run")],
        ),
        (
            "a.rs",
            "struct Ini;\nimpl Ini { pub fn load() {} }\ntrait Rest {}\n",
            [("", "Ini"), ("Ini", "load")],
        ),
        (
            "a.h",
            "#define SQUARE(x) ((x) * (x))\nint add(int a, int b);\nchar *name(void);\nstruct node { int i; };\n",
            [("", "SQUARE"), ("", "add"), ("", "name"), ("", "node")],
        ),
        ("a.c", "static char *name(void) { return 0; }\n", [("", "name")]),
        ("a.cpp", "class Ring { void turn(); };\nvoid Ring::turn() {}\n", [("", "Ring"), ("Ring", "turn")]),
        ("A.java", "class Box { int size() { return 1; } }\n", [("", "Box"), ("Box", "size")]),
        ("a.sh", "greet() { echo hi; }\n", [("", "greet")]),
        ("a.php", "<?php\nclass Box { function size() {} }\n", [("", "Box"), ("Box", "size")]),
        ("a.rb", "class Box\n  def size\n    1\n  end\nend\n", [("", "Box"), ("Box", "size")]),
    ],
)
def test_every_language_has_an_outline(path: str, text: str, expected: list[tuple[str, str]]) -> None:
    found = outline(path, text)
    assert [pair for pair in found if pair in expected][: len(expected)] == expected


def test_the_text_comes_back_with_plain_line_endings() -> None:
    entry = read("a.py", "x = 1\r\ny = 'ä'\rz = 2\n")
    assert entry.text == "x = 1\ny = 'ä'\nz = 2\n"
    assert entry.language == "Python"


def test_chunks_cover_the_file_and_overlap() -> None:
    text = "\n".join(f"value_{i} = {i}" for i in range(50))
    chunks = read("a.py", text).chunks
    assert {name for chunk in chunks for name in chunk.words} == {f"value_{i}" for i in range(50)}
    lines = text.split("\n")
    for chunk in chunks:
        assert chunk.text == "\n".join(lines[chunk.line : chunk.line + CHUNK])
    assert len({chunk.line for chunk in chunks}) == len(chunks) > 50 / CHUNK


def test_words_are_names_that_tell_something() -> None:
    assert words("def count_words(self) -> int: return self.total  # of it") == {"count_words", "total"}
    assert "return" in COMMON


def test_odd_texts_are_read() -> None:
    """Whatever a file holds, an entry comes of it, and its size is known."""
    odd = random.Random(0)
    pieces = ("def f(", "class", "\0", "\ud800", "\r", "{", '"""', "é", "x" * 50, "\n", "    ", ")", ":")
    for suffix in ("py", "go", "rs", "ts", "php", "txt", ""):
        for _ in range(20):
            text = "".join(odd.choices(pieces, k=odd.randint(0, 40)))
            entry = read(f"a.{suffix}", text)
            assert entry.size > 0
            entry.text.encode("utf-8")
            assert all(chunk.text.strip() for chunk in entry.chunks)


def test_what_is_kept_of_a_file_is_bounded() -> None:
    many = read("a.py", "".join(f"def f{i:06}(): pass\n" for i in range(MAX_FILE_CHARACTERS // 20)))
    assert len(many.definitions) == DEFINITIONS
    assert len(read("a.py", "x" * (MAX_FILE_CHARACTERS + 5)).text) == MAX_FILE_CHARACTERS
    wide = read("a.py", f"def wide({', '.join(f'name_{i}' for i in range(500))}): pass\n")
    assert len(wide.definitions[0].text) == CHARACTERS


def test_a_library_finds_files_by_what_they_define() -> None:
    entries = {path: read(path, PYTHON) for path in ("a.py", "b.py")} | {
        "c.py": read("c.py", "def c1(): ...\n")
    }
    library = Library(entries)
    assert library.defined(["Stack", "c1", "nothing"]) == {"Stack": ("a.py", "b.py"), "c1": ("c.py",)}
    assert EMPTY.defined(["Stack"]) == {}


def test_a_changed_library_is_another_value() -> None:
    library = Library({"a.py": read("a.py", PYTHON)})
    assert library.defined(["Stack"])
    opened = library.changed(opened=("a.py",), edits=(("a.py", "x"),))
    assert (library.opened, library.edits) == ((), ())
    assert (opened.opened, opened.edits) == (("a.py",), (("a.py", "x"),))
    assert opened.defined(["Stack"]) == {"Stack": ("a.py",)}
    assert opened.changed(entries={}).defined(["Stack"]) == {}
    assert opened.changed(entries={}).opened == ("a.py",)
