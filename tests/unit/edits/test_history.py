"""Tests of the edit history: changes are joined into edits, and undone edits are dropped."""

from __future__ import annotations

import random
from typing import SupportsIndex

import pytest

from mercury_lsp.edits.history import (
    MAX_DOCUMENTS,
    MAX_EDIT_CHARACTERS,
    MAX_EDITS,
    DocumentEdits,
    Edit,
    EditHistory,
    by_line,
)


def test_consecutive_keys_are_one_edit() -> None:
    edits = DocumentEdits()
    edits.change(4, "old", "")
    for number, key in enumerate("new"):
        edits.change(4 + number, "", key)
    assert edits.edits == (Edit(4, "old", "new"),)


class CountingText(str):
    """A string that counts how often it is sliced or indexed."""

    reads = 0

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        CountingText.reads += 1
        return super().__getitem__(key)


def test_a_whole_text_is_not_compared_character_by_character() -> None:
    text = "x = compute(value)\n" * 1_000
    one = Edit(0, CountingText(text + "a" + text), CountingText(text + "bc" + text))
    assert one.trimmed() == Edit(len(text), "a", "bc")
    assert CountingText.reads < 100


def test_an_undone_edit_is_dropped() -> None:
    edits = DocumentEdits()
    edits.change(0, "", "x = 1\n")
    edits.change(20, "name", "other")
    edits.change(20, "other", "name")
    assert edits.edits == (Edit(0, "", "x = 1\n"),)


def test_later_edits_shift_earlier_ones() -> None:
    edits = DocumentEdits()
    edits.change(50, "a", "bb")
    edits.change(10, "", "12345")
    assert edits.edits == (Edit(55, "a", "bb"), Edit(10, "", "12345"))


def test_a_change_across_several_edits_joins_them() -> None:
    # "one two three" -> "ONE two THREE" -> "x"
    edits = DocumentEdits()
    edits.change(0, "one", "ONE")
    edits.change(8, "three", "THREE")
    edits.change(0, "ONE two THREE", "x")
    assert edits.edits == (Edit(0, "one two three", "x"),)


def test_the_number_and_size_of_edits_are_limited() -> None:
    edits = DocumentEdits()
    for number in range(3 * MAX_EDITS):
        edits.change(10 * number, "a", "b")
    assert len(edits.edits) == MAX_EDITS
    edits.change(0, "", "x" * (MAX_EDIT_CHARACTERS + 1))
    assert edits.edits == ()
    history = EditHistory()
    for number in range(2 * MAX_DOCUMENTS):
        history.change(f"file:///{number}", 0, "a", "b")
    kept = [number for number in range(2 * MAX_DOCUMENTS) if history.edits(f"file:///{number}")]
    assert kept == list(range(MAX_DOCUMENTS, 2 * MAX_DOCUMENTS))


def test_a_new_whole_text_is_one_edit_and_a_closed_document_has_none() -> None:
    history = EditHistory()
    history.rewrite("u", "a = old\nb", "a = new\nb")
    assert history.edits("u") == (Edit(4, "old", "new"),)
    history.forget("u")
    assert history.edits("u") == ()


def test_edits_on_one_line_are_joined() -> None:
    # "f(a, b)\nc" -> "g(a, d)\nc"
    edits = DocumentEdits()
    edits.change(0, "f", "g")
    edits.change(5, "b", "d")
    assert by_line("g(a, d)\nc", edits.edits) == [Edit(0, "f(a, b", "g(a, d")]


@pytest.mark.parametrize("seed", range(30))
def test_undoing_all_edits_gives_the_old_text(seed: int) -> None:
    random_ = random.Random(seed)
    old = text = "".join(random_.choices("ab \n", k=60))
    edits = DocumentEdits()
    for _ in range(15):
        start = random_.randrange(len(text) + 1)
        removed = text[start : start + random_.randrange(5)]
        new = "".join(random_.choices("xy", k=random_.randrange(4)))
        edits.change(start, removed, new)
        text = text[:start] + new + text[start + len(removed) :]
    for edit in sorted(edits.edits, key=lambda edit: -edit.start):
        assert text[edit.start : edit.end] == edit.after
        text = text[: edit.start] + edit.before + text[edit.end :]
    assert text == old
