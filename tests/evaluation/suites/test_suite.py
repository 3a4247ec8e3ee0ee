"""Tasks of suites: their documents, completions and programs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from model.evaluation.suites.execute import run_all
from model.evaluation.suites.shots import examples
from model.evaluation.suites.suite import FILES, FOLDER, SuiteError, Task, load, sample, with_examples

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
FUNCTION = Task(
    "Ours/2",
    "double",
    'from math import *\n\n\ndef double(x):\n    """Twice x."""\n',
    None,
    "    return 2 * x\n",
    CHECK,
)
METHOD = Task(
    "Ours/3",
    "twice",
    "import java.util.*;\n\nclass Twice {\n    static int twice(int x) {\n",
    None,
    None,
    "class Main { public static void main(String[] a) { Twice.twice(3); } }",
    "java",
)


def write(path: Path, *lines: object) -> str:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return str(path)


def as_object(task: Task) -> dict[str, str | None]:
    """Return a task as an object of its file, in which whole functions have no suffix."""
    left_out = {"examples"} | ({"suffix"} if task.suffix is None else set())
    return {name: getattr(task, name) for name in Task.__dataclass_fields__ if name not in left_out}


def test_the_document_of_a_single_line_task_has_an_empty_line_for_its_solution() -> None:
    assert LINE.before + LINE.after == "def double(x):\n    y = x\n\n    return y\n"
    assert LINE.before.endswith("\n")
    assert LINE.after.startswith("\n")


def test_a_span_is_completed_without_changes() -> None:
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
def test_a_line_ends_at_the_first_line_break_after_visible_text(text: str, completion: str) -> None:
    assert LINE.completion(text) == completion


def test_canonical_solutions_pass_and_others_fail() -> None:
    right = [task.program(task.completion(task.canonical_solution)) for task in TASKS]
    wrong = [task.program(task.completion(text)) for task in TASKS for text in ("", "urn 0 *", "    y = 1")]
    assert [outcome.error for outcome in run_all(right)] == [""] * len(right)
    assert not any(outcome.passed for outcome in run_all(wrong))


def test_exact_ignores_trailing_whitespace() -> None:
    assert LINE.exact("    y += x\n")
    assert LINE.exact("    y += x  ")
    assert not LINE.exact("y += x\n")


def test_tasks_are_read_in_the_order_of_their_file(tmp_path: Path) -> None:
    tasks = [*TASKS, FUNCTION]
    assert load(write(tmp_path / "ours.jsonl.gz", *map(as_object, tasks))) == tasks
    assert load(write(tmp_path / "java.jsonl.gz", as_object(METHOD))) == [METHOD]


def test_the_completion_of_a_function_ends_with_the_function() -> None:
    assert not SPAN.function
    assert FUNCTION.function
    assert (
        FUNCTION.completion("    return 2 * x\n\n\ndef other():\n    pass\n").rstrip() == "    return 2 * x"
    )
    (outcome,) = run_all([FUNCTION.program("    return 2 * x\n")])
    assert outcome.passed
    assert (
        METHOD.completion("        return 2 * x;\n    }\n}\nclass More {}") == "        return 2 * x;\n    }"
    )


def test_the_class_around_a_method_is_closed_in_its_program() -> None:
    program = METHOD.program("        return 2 * x;\n    }")
    assert program.count("{") == program.count("}")
    assert "check(" not in program


def test_exact_is_none_without_a_known_solution() -> None:
    assert METHOD.exact("        return 2 * x;\n    }") is None
    assert FUNCTION.exact("    return 2 * x")


def test_examples_follow_the_imports_and_are_left_out_of_the_program() -> None:
    (task,) = with_examples([FUNCTION], examples("python", 2))
    assert task.before.startswith("from math import *\n")
    assert task.before.endswith(FUNCTION.prompt.removeprefix("from math import *\n\n\n"))
    assert "def longest_gap" in task.before
    assert task.program("    pass\n") == FUNCTION.program("    pass\n")
    (same,) = with_examples([FUNCTION], examples("python", 0))
    assert same == FUNCTION


def test_a_sample_depends_only_on_its_seed() -> None:
    tasks = [Task(f"RandomSpan/{i}", "f", "", "", "", "") for i in range(50)]
    drawn = [task.task_id for task in sample(tasks, 5, 0)]
    # The first sample is pinned, because published figures name a seed, which must always mean the same tasks.
    assert drawn == ["RandomSpan/24", "RandomSpan/48", "RandomSpan/26", "RandomSpan/2", "RandomSpan/16"]
    assert [task.task_id for task in sample(tasks, 5, 1)] != drawn
    assert sample(tasks, None, 0) == sample(tasks, 50, 0) == tasks


def test_an_invalid_suite_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(
        SuiteError, match=r"no suite or file 'nonsense'; suites are single-line, .* and cpp, or all"
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
    with pytest.raises(SuiteError, match="line 2 is no task: it has no text 'suffix'"):
        load(write(tmp_path / "other.jsonl.gz", as_object(LINE), as_object(LINE) | {"suffix": None}))
    with pytest.raises(SuiteError, match="line 1 is no task"):
        load(write(tmp_path / "list.jsonl.gz", []))
    with pytest.raises(SuiteError, match="line 1 is in 'cobol', which is not run here"):
        load(write(tmp_path / "cobol.jsonl.gz", as_object(FUNCTION) | {"language": "cobol"}))
    with pytest.raises(SuiteError, match="has tasks of several languages"):
        load(write(tmp_path / "mixed.jsonl.gz", as_object(FUNCTION), as_object(METHOD)))
    with gzip.open(tmp_path / "bad.jsonl.gz", "wt") as file:
        file.write("{\n")
    with pytest.raises(SuiteError, match="line 1 is no JSON"):
        load(str(tmp_path / "bad.jsonl.gz"))


@pytest.mark.parametrize("suite", ["single-line", "random-span", "humaneval"])
def test_the_public_tasks_pass_with_their_own_solutions(suite: str) -> None:
    if not (FOLDER / FILES[suite]).exists():
        pytest.skip(f"the evaluation data is not at {FOLDER}")
    tasks = sample(load(suite), 20, 0)
    assert all(task.single_line == (suite == "single-line") for task in tasks)
    assert all(task.function == (suite == "humaneval") for task in tasks)
    solutions = [task.canonical_solution or "" for task in tasks]
    completions = [task.completion(solution) for task, solution in zip(tasks, solutions, strict=True)]
    assert completions == solutions
    programs = [task.program(completion) for task, completion in zip(tasks, completions, strict=True)]
    assert [outcome.error for outcome in run_all(programs)] == [""] * 20
