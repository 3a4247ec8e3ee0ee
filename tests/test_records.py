"""Records as lines of a file, and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mercury_lsp.complete import likelihood
from model.records import DetailsError, Record, read

RECORD = Record(
    model="m",
    seed=0,
    language="python",
    package="p",
    path="a.py",
    kind="rest",
    start=0,
    hole="return x",
    text="return x",
    shown="return x",
    one_line=True,
    finished=True,
    tokens=2,
    passes=1,
    confidence=0.9,
    ms=1.0,
    exact=True,
    first_line=True,
    ending="right",
    keys=8,
    spared=7,
    spared_by_word=7,
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    records = [RECORD, replace(RECORD, hole="é\n\u2028", shown=None, confidence=1 / 3)]
    file = tmp_path / "details.jsonl"
    file.write_text("".join(record.line() for record in records), encoding="utf-8")
    assert read(file) == records
    assert read(file)[1].likelihood == likelihood(1 / 3, 2)


@pytest.mark.parametrize("text", ["{}\n", "[1]\n", "no json\n", '{"task_id": "t", "completion": ""}\n'])
def test_other_files_are_told_apart(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DetailsError, match=r"was not written by model\.heldout"):
        read(file)
    with pytest.raises(DetailsError, match="cannot be read"):
        read(tmp_path / "none.jsonl")
