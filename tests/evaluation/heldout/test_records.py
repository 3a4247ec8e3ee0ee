"""Records written as lines of a file and read again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from mercury_lsp.completion.committed import likelihood
from model.evaluation.heldout.offers import Fit, Offer
from model.evaluation.heldout.records import DetailsError, Record, read

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
    offer=Offer(
        text="return x",
        finished=True,
        likelihood=0.81,
        scored=((6, math.log(0.9)), (8, math.log(0.9))),
        fits=(Fit(8, "return x", 0),),
    ),
)


def sure(record: Record, *probabilities: float) -> Record:
    """Return the record with other probabilities of its offer's two tokens."""
    assert record.offer is not None
    ends = [end for end, _ in record.offer.scored]
    scored = tuple((end, math.log(p)) for end, p in zip(ends, probabilities, strict=True))
    return replace(record, offer=replace(record.offer, scored=scored))


def test_written_records_are_read_again(tmp_path: Path) -> None:
    records = [RECORD, replace(RECORD, hole="é\n\u2028", shown=None, confidence=1 / 3, offer=None)]
    file = tmp_path / "details.jsonl"
    file.write_text("".join(record.line() for record in records), encoding="utf-8")
    assert read(file) == records
    assert read(file)[1].likelihood == likelihood(1 / 3, 2)


@pytest.mark.parametrize("text", ["{}\n", "[1]\n", "no json\n", '{"task_id": "t", "completion": ""}\n'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DetailsError, match=r"was not written by model\.evaluation\.heldout"):
        read(file)
    with pytest.raises(DetailsError, match="cannot be read"):
        read(tmp_path / "none.jsonl")


def test_records_of_earlier_versions_without_an_offer_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "details.jsonl"
    file.write_text(replace(RECORD, offer=None).line(), encoding="utf-8")
    with pytest.raises(DetailsError, match="earlier versions"):
        read(file)


def test_automatic_requests_show_what_the_server_would_show() -> None:
    whole = RECORD.automatic(0.3)
    assert whole is not None and (whole.shown, whole.spared, whole.exact) == ("return x", 7, True)
    assert sure(RECORD, 0.01, 0.9).automatic(0.5) is None
    other = replace(RECORD, hole="return value")
    doubtful = sure(other, 0.99, 0.01).automatic(0.3)
    assert doubtful is not None and doubtful.shown == "return"
    assert (doubtful.first_line, doubtful.exact, doubtful.spared, doubtful.spared_by_word) == (
        True,
        False,
        5,
        5,
    )
    within = sure(replace(RECORD, hole="returned"), 0.99, 0.01).automatic(0.3)
    assert within is not None and not within.first_line and within.spared == 0
    assert replace(RECORD, offer=None).automatic(0.0) is None
