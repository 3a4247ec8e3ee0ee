"""Definitions read from files, and the files that define a name."""

from __future__ import annotations

import pytest

from mercury_lsp.context.retrieval.index import MAX_FILE_CHARACTERS, read
from model.data.definitions import CHARACTERS, DEFINITIONS, defining_files, definitions_of

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
    return [(found.owner, found.name) for found in definitions_of(read(path, text))]


def test_definitions_are_read_with_their_signatures() -> None:
    stack, push, empty = definitions_of(read("stack.py", PYTHON))
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
def test_definitions_are_found_in_every_language(
    path: str, text: str, expected: list[tuple[str, str]]
) -> None:
    found = outline(path, text)
    assert [pair for pair in found if pair in expected][: len(expected)] == expected


def test_the_number_and_length_of_definitions_of_a_file_are_bounded() -> None:
    many = read("a.py", "".join(f"def f{i:06}(): pass\n" for i in range(MAX_FILE_CHARACTERS // 20)))
    assert len(definitions_of(many)) == DEFINITIONS
    wide = read("a.py", f"def wide({', '.join(f'name_{i}' for i in range(500))}): pass\n")
    assert len(definitions_of(wide)[0].text) == CHARACTERS


def test_files_are_found_by_the_names_that_they_define() -> None:
    texts = {"a.py": PYTHON, "b.py": PYTHON, "c.py": "def c1(): ...\n"}
    found = defining_files(tuple(read(path, text) for path, text in texts.items()))
    assert (found["Stack"], found["c1"], found.get("nothing")) == (("a.py", "b.py"), ("c.py",), None)
    assert defining_files(()) == {}
