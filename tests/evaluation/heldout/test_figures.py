"""The figures of held-out holes, compared with values computed manually."""

from __future__ import annotations

from dataclasses import replace

from test_records import RECORD, sure

from model.evaluation.heldout.figures import figures, gains, markdown, report

WRONG = replace(
    RECORD,
    hole="return total",
    path="b.py",
    exact=False,
    first_line=False,
    ending="other",
    keys=12,
    spared=0,
    spared_by_word=5,
)


def test_figures_are_ratios_of_sums() -> None:
    found = figures([RECORD, replace(WRONG, passes=3, ending="over")], 0.0)
    assert (found["n"], found["files"], found["keys"]) == (2, 2, 20)
    assert found["exact"]["share"] == found["first_line"] == found["precision"] == 0.5
    assert found["spared"]["share"] == round(7 / 20, 4)
    assert found["spared_by_word"]["share"] == round(12 / 20, 4)
    assert found["endings"] == {"right": 0.5, "short": 0.0, "over": 0.5, "other": 0.0}
    assert found["right_end"] == 0.5
    assert found["forward_passes"] == 2 and found["tokens_per_pass"] == 1


def test_unlikely_suggestions_are_not_shown_and_save_no_keys() -> None:
    records = [RECORD, sure(RECORD, 0.1, 0.9), replace(WRONG, shown=None, offer=None)]
    assert figures(records, 0.0)["shown"] == round(2 / 3, 4)
    found = figures(records, 0.6)
    assert found["shown"] == round(1 / 3, 4)
    assert found["precision"] == 1
    assert found["spared"]["share"] == round(7 / 28, 4)
    assert found["exact"]["share"] == round(2 / 3, 4)
    assert figures(records, 1.0)["spared"]["share"] == 0


def test_intervals_are_computed_over_files() -> None:
    """Forty holes in two files, one always right and one always wrong, count as two samples."""
    alike = [replace(RECORD, start=i) for i in range(20)] + [replace(WRONG, start=i) for i in range(20)]
    assert figures(alike, 0.0)["exact"]["interval"] == [0.0, 1.0]
    apart = [replace(record, path=f"{i}.py") for i, record in enumerate(alike)]
    low, high = figures(apart, 0.0)["exact"]["interval"]
    assert 0.3 < low < 0.5 < high < 0.7


def test_a_report_has_a_row_for_each_language_and_for_all() -> None:
    answer = report([RECORD, replace(WRONG, language="go", path="b.go")], 0.0)
    assert list(answer["kinds"]) == ["rest"]
    assert list(answer["kinds"]["rest"]) == ["python", "go", "all"]
    lines = markdown(answer).splitlines()
    assert any(line.startswith("| Rest of the line | go | 1 | 0.0% (0.0 to 0.0) |") for line in lines)
    assert len({line.count("|") for line in lines[:5]}) == 1


def test_gains_are_paired_by_hole() -> None:
    ours = [replace(RECORD, start=i, path=f"{i}.py") for i in range(9)]
    theirs = [replace(record, exact=False, spared=record.spared - 1) for record in reversed(ours[1:])]
    found = gains(ours, theirs)["all"]["all"]
    assert found["n"] == 8
    assert found["exact"] == {"difference": 1.0, "interval": [1.0, 1.0]}
    assert found["spared"]["difference"] == round(1 / RECORD.keys, 4)
    same = gains(ours, ours)["rest"]["python"]["exact"]
    assert same == {"difference": 0.0, "interval": [0.0, 0.0]}
    assert gains(ours, [WRONG]) == {}
