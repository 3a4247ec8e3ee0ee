"""Comparison of two files of details: pairing by task, differences and intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.evaluation.compare import CompareError, compare, read


def line(
    task: str, passed: bool, exact: bool | None = False, mode: str = "diffusion", **more: Any
) -> dict[str, Any]:
    return {"task_id": task, "mode": mode, "pass": passed, "exact": exact, "passes": 4} | more


def infilling(problems: int, lines: int, passed: bool, **more: Any) -> list[dict[str, Any]]:
    name = "SingleLineInfilling/HumanEval"
    return [line(f"{name}/{i}/L{j}", passed, **more) for i in range(problems) for j in range(lines)]


def test_the_difference_is_the_first_minus_the_second_paired_by_task() -> None:
    first = [line(f"T/{i}", i < 30, exact=i < 10, passes=6) for i in range(40)]
    second = [line(f"T/{i}", 10 <= i < 15, exact=False, passes=8) for i in reversed(range(40))]
    (found,) = compare(first, second)["suites"]
    assert found["n"] == 40
    passed = found["pass_at_1"]
    assert (passed["first"], passed["second"], passed["difference"]) == (0.75, 0.125, 0.625)
    low, high = passed["interval"]
    assert 0.4 < low < 0.625 < high < 0.8
    assert passed["excludes_zero"]
    assert found["exact_match"]["difference"] == 0.25
    assert (found["only_first_passes"], found["only_second_passes"]) == (25, 0)
    assert found["forward_passes_ratio"] == 0.75


def test_equal_models_do_not_differ() -> None:
    lines = [line(f"T/{i}", i % 2 == 0) for i in range(40)]
    (found,) = compare(lines, lines)["suites"]
    assert found["pass_at_1"]["interval"] == [0, 0]
    assert not found["pass_at_1"]["excludes_zero"]


def test_tasks_of_one_problem_count_as_one_sample() -> None:
    """One problem of four is gained with all of its twenty holes; over tasks, that looks significant."""
    second = infilling(4, 20, False)
    first = infilling(1, 20, True) + second[20:]
    passed = compare(first, second)["suites"][0]["pass_at_1"]
    assert passed["interval"][0] > 0.1
    assert passed["interval_by_problem"][0] == 0
    assert not passed["excludes_zero"]


def test_suites_and_modes_are_compared_separately() -> None:
    def both(passed: bool) -> list[dict[str, Any]]:
        return [
            line(
                f"{suite}/{i}",
                passed and mode == "diffusion",
                None if suite == "java" else passed,
                mode,
                suite=suite,
            )
            for suite in ("java", "php")
            for mode in ("diffusion", "autoregressive")
            for i in range(5)
        ]

    found = compare(both(True), both(False))["suites"]
    assert [(one["suite"], one["mode"], one["n"]) for one in found] == [
        ("java", "diffusion", 5),
        ("java", "autoregressive", 5),
        ("php", "diffusion", 5),
        ("php", "autoregressive", 5),
    ]
    assert [one["pass_at_1"]["difference"] for one in found] == [1, 0, 1, 0]
    assert found[0]["exact_match"] is None
    assert found[2]["exact_match"]["difference"] == 1


def test_files_of_one_mode_each_are_paired_across_modes() -> None:
    first = [line("T/0", True, model="new")]
    found = compare(first, [line("T/0", False, mode="autoregressive", model="old")])
    assert (found["first"], found["second"]) == ("new", "old")
    assert found["suites"][0]["mode"] == "diffusion against autoregressive"
    assert found["suites"][0]["suite"] == "T"


def test_unpaired_tasks_are_counted() -> None:
    first, second = [line(f"T/{i}", True) for i in range(3)], [line(f"T/{i}", True) for i in range(2, 7)]
    found = compare(first, second)
    assert found["unpaired"] == {"first": 2, "second": 4}
    assert found["suites"][0]["n"] == 1
    with pytest.raises(CompareError, match="No task is in both"):
        compare(first[:2], second)
    with pytest.raises(CompareError, match="The second details have a task twice"):
        compare(first, first * 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no line in it"),
        ("{", "cannot be read as details"),
        ("[]\n", "line 1 is no line of details: it has no 'task_id'"),
        (
            json.dumps(line("T/0", True)) + '\n{"task_id": "T/1", "mode": "diffusion"}',
            "line 2 .* has no 'pass'",
        ),
    ],
)
def test_invalid_details_are_refused_with_the_reason(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "details.jsonl"
    file.write_text(text)
    with pytest.raises(CompareError, match=sentence):
        read(file)
    with pytest.raises(CompareError, match="cannot be read"):
        read(tmp_path / "nowhere.jsonl")
