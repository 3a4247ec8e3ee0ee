"""How a task becomes a document, a completion and a program."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from model.execute import run_all
from model.suite import FILES, FOLDER, LATER, SuiteError, Task, load, sample

CHECK = "def check(candidate):\n    assert candidate(3) == 6\n    assert candidate(-1) == -2\n"
LINE = Task(
    task_id="SingleLineInfilling/Ours/0/L0",
    entry_point="double",
    prompt="def double(x):\n    y = x\n",
    suffix="    return y\n",
    canonical_solution="    y += x\n",
    test=CHECK,
)
SPAN = Task(
    task_id="RandomSpanInfillingLight/Ours/0/1",
    entry_point="double",
    prompt="def double(x):\n    ret",
    suffix=" 2\n",
    canonical_solution="urn x *",
    test=CHECK,
)
LINES = Task(
    "RandomSpanInfillingLight/Ours/1/1",
    "double",
    "def double(x):",
    "",
    "\n    y = x\n    return x + y",
    CHECK,
)
TASKS = (LINE, SPAN, LINES)


def write(path: Path, *lines: object) -> str:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return str(path)


def as_object(task: Task) -> dict[str, str]:
    return {name: getattr(task, name) for name in Task.__dataclass_fields__}


def test_the_line_of_a_single_line_task_is_an_empty_one_in_the_document() -> None:
    assert LINE.before + LINE.after == "def double(x):\n    y = x\n\n    return y\n"
    assert LINE.before.endswith("\n")
    assert LINE.after.startswith("\n")


def test_a_span_is_cut_as_it_stands() -> None:
    assert (SPAN.before, SPAN.after) == (SPAN.prompt, SPAN.suffix)
    assert SPAN.completion("urn x *\n  2") == "urn x *\n  2"


@pytest.mark.parametrize(
    ("text", "completion"),
    [
        ("    y += x", "    y += x\n"),
        ("    y += x\n    return 7\n", "    y += x\n"),
        ("\n\n    y += x\n    z = 1", "\n\n    y += x\n"),
        ("  ", "  \n"),
        ("", "\n"),
    ],
)
def test_a_line_ends_with_the_first_line_end_behind_something_visible(text: str, completion: str) -> None:
    assert LINE.completion(text) == completion


def test_canonical_solutions_pass_and_others_fail() -> None:
    right = [task.program(task.completion(task.canonical_solution)) for task in TASKS]
    wrong = [task.program(task.completion(text)) for task in TASKS for text in ("", "urn 0 *", "    y = 1")]
    assert [outcome.error for outcome in run_all(right)] == [""] * len(right)
    assert not any(outcome.passed for outcome in run_all(wrong))


def test_exact_does_not_see_white_space_at_the_end() -> None:
    assert LINE.exact("    y += x\n")
    assert LINE.exact("    y += x  ")
    assert not LINE.exact("y += x\n")


def test_a_file_is_read_in_its_order(tmp_path: Path) -> None:
    assert load(write(tmp_path / "ours.jsonl.gz", *map(as_object, TASKS))) == list(TASKS)


def test_a_sample_depends_on_nothing_but_its_seed() -> None:
    tasks = [Task(f"RandomSpan/{i}", "f", "", "", "", "") for i in range(50)]
    drawn = [task.task_id for task in sample(tasks, 5, 0)]
    # The first draw is pinned: published figures name a seed, so that it must never mean other tasks.
    assert drawn == ["RandomSpan/24", "RandomSpan/48", "RandomSpan/26", "RandomSpan/2", "RandomSpan/16"]
    assert [task.task_id for task in sample(tasks, 5, 1)] != drawn
    assert sample(tasks, None, 0) == sample(tasks, 50, 0) == tasks


@pytest.mark.parametrize("suite", LATER)
def test_suites_of_later_releases_say_so(suite: str) -> None:
    with pytest.raises(SuiteError, match=f"The suite {suite} comes with a later release"):
        load(suite)


def test_what_is_no_suite_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(
        SuiteError, match="no suite or file 'nonsense'; suites are single-line and random-span"
    ):
        load("nonsense")
    plain = tmp_path / "plain.jsonl"
    plain.write_text("{}\n")
    with pytest.raises(SuiteError, match="cannot be read as a gzip file"):
        load(str(plain))
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(Path(write(tmp_path / "whole.jsonl.gz", as_object(LINE))).read_bytes()[:-12])
    with pytest.raises(SuiteError, match="cannot be read as a gzip file"):
        load(str(cut))
    with pytest.raises(SuiteError, match="has no task"):
        load(write(tmp_path / "empty.jsonl.gz"))
    with pytest.raises(SuiteError, match="line 2 is no infilling task: it has no text 'suffix'"):
        load(write(tmp_path / "other.jsonl.gz", as_object(LINE), as_object(LINE) | {"suffix": None}))
    with pytest.raises(SuiteError, match="line 1 is no infilling task"):
        load(write(tmp_path / "list.jsonl.gz", []))
    with gzip.open(tmp_path / "bad.jsonl.gz", "wt") as file:
        file.write("{\n")
    with pytest.raises(SuiteError, match="line 1 is no JSON"):
        load(str(tmp_path / "bad.jsonl.gz"))


@pytest.mark.parametrize("suite", FILES)
def test_the_public_tasks_pass_with_their_own_solutions(suite: str) -> None:
    if not (FOLDER / FILES[suite]).exists():
        pytest.skip(f"the evaluation data is not at {FOLDER}")
    tasks = sample(load(suite), 20, 0)
    assert all(task.single_line == (suite == "single-line") for task in tasks)
    completions = [task.completion(task.canonical_solution) for task in tasks]
    assert completions == [task.canonical_solution for task in tasks]
    programs = [task.program(completion) for task, completion in zip(tasks, completions, strict=True)]
    assert [outcome.error for outcome in run_all(programs)] == [""] * 20
