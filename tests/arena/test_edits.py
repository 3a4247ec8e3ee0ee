"""Edits: the places where text of the user is cut out, and their records."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mercury_lsp.arena.edits import (
    KINDS,
    MAX_BLOCK_CHARACTERS,
    MAX_BLOCK_LINES,
    RUN_LINES,
    Edit,
    InvalidEdit,
    added_runs,
    read_edits,
    removed_lines,
    sample_edits,
)

OLD = "import os\n\n\ndef area(width, height):\n    return width * height\n"
NEW = (
    "import os\n\n\ndef area(width, height):\n    # checked by who calls\n    size = width * height\n"
    "    return size\n\n\ndef volume(width, height, depth):\n    return area(width, height) * depth\n"
)
EVERY = [range(NEW.count("\n"))]


def drawn(text: str, runs: list[range], seeds: int = 60) -> list[Edit]:
    return [
        edit
        for seed in range(seeds)
        for edit in sample_edits("lib/shapes.py", "python", text, runs, str(seed))
    ]


def test_added_runs_are_the_new_lines() -> None:
    lines = NEW.split("\n")
    new = {lines[n] for run in added_runs(OLD, NEW) for n in run if lines[n]}
    assert new == set(lines) - set(OLD.split("\n"))
    assert added_runs("", "a = 1\nb = 2\n") == [range(2)]
    assert added_runs(OLD, OLD) == []


def test_changes_of_whitespace_and_line_endings_are_no_added_runs() -> None:
    indented = OLD.replace("    return", "\treturn").replace("\n", "\r\n")
    assert added_runs(OLD, indented) == []
    assert added_runs(OLD, OLD + "\n\n\n") == []


def test_moved_lines_are_no_added_runs() -> None:
    """The function moves from one file to another, with one new line inside."""
    moved = removed_lines("def area(w, h):\n    return w * h\n", "")
    after = "def area(w, h):\n    check(w)\n    return w * h"
    assert added_runs("", after, moved) == [range(1, 2)]


def test_long_runs_are_split_into_several_edits() -> None:
    text = "".join(f"value_{i} = compute({i})\n" for i in range(2 * RUN_LINES + 5))
    runs = added_runs("", text)
    assert [len(run) for run in runs] == [RUN_LINES, RUN_LINES, 5]
    assert len(sample_edits("a.py", "python", text, runs, "0")) == 3


def test_an_edit_is_the_whole_file_with_a_middle_cut_out() -> None:
    edits = drawn(NEW, EVERY)
    assert len(edits) == 60
    assert {edit.kind for edit in edits} >= {"line", "within"}
    for edit in edits:
        assert edit.full_text == NEW
        assert edit.document.text == edit.prefix + edit.suffix
        assert edit.middle.strip() == edit.middle


def test_each_kind_cuts_out_the_documented_text() -> None:
    """A comment is never cut out, and a block is a whole short run."""
    edits = drawn(NEW, [range(4, 7)])
    assert set(Counter(edit.kind for edit in edits)) == set(KINDS)
    for edit in edits:
        left = edit.prefix.rpartition("\n")[2]
        assert edit.suffix.startswith("\n")
        if edit.kind == "line":
            assert edit.middle in ("size = width * height", "return size") and left == "    "
        elif edit.kind == "within":
            assert left + edit.middle in ("    size = width * height", "    return size")
            assert left.endswith(("= ", "return "))
        else:
            assert edit.middle == "size = width * height\n    return size"


def test_blocks_have_limited_lines_and_characters() -> None:
    text = "".join(f"value_{i} = compute({i})\n" for i in range(RUN_LINES))
    assert all(edit.kind != "block" for edit in drawn(text, [range(RUN_LINES)]))
    short = drawn(text, [range(MAX_BLOCK_LINES)])
    assert all(len(edit.middle) <= MAX_BLOCK_CHARACTERS for edit in short if edit.kind == "block")
    assert any(edit.kind == "block" for edit in short)


def test_edits_keep_the_line_endings_of_the_file() -> None:
    for edit in drawn(NEW.replace("\n", "\r\n"), EVERY):
        assert edit.full_text == NEW.replace("\n", "\r\n")
        assert edit.suffix.startswith("\r\n")
        assert not edit.prefix.endswith("\r")


def test_the_sample_depends_only_on_the_seed_and_the_place() -> None:
    one = sample_edits("a.py", "python", NEW, [range(4, 7), range(9, 11)], "7")
    other = sample_edits("a.py", "python", NEW, [range(9, 11)], "7")
    assert one[1:] == other
    assert len({edit.key for edit in drawn(NEW, EVERY)}) > 5


def test_lines_without_code_are_not_cut_out() -> None:
    text = '"""What this is."""\n\n# nothing\n)\n'
    assert sample_edits("a.py", "python", text, [range(5)], "0") == []


def test_a_record_is_read_as_it_was_written() -> None:
    edits = drawn(NEW.replace("size", "größe"), EVERY, 5)
    lines = [edit.to_json() for edit in edits]
    assert list(read_edits(["", *lines, "\n"])) == edits
    assert all("\n" not in line for line in lines)
    bare = {"path": "a.py", "language": "python", "prefix": "a = ", "suffix": "", "middle": "1"}
    assert next(read_edits([json.dumps(bare)])).kind == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "no JSON"),
        ("[1]", "no object"),
        ('{"path": "a.py"}', "language is missing"),
        ('{"path": 3}', "path is no text"),
        ('{"path": "a", "language": "b", "prefix": "", "suffix": "", "middle": " "}', "blank"),
    ],
)
def test_an_invalid_record_is_an_error_with_its_line_number(line: str, says: str) -> None:
    with pytest.raises(InvalidEdit, match=rf"line 2: .*{says}"):
        list(read_edits(["", line]))
