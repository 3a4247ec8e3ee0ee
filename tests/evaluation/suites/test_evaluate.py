"""The figures of an evaluation, and whole runs of the command with a tiny network and executed programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from test_suite import FUNCTION, LINE, METHOD, SPAN, TASKS, as_object, write

from mercury_lsp.engine.api import Infill, Sampling
from mercury_lsp.engine.load import load_local_engine
from model.evaluation.bootstrap import interval
from model.evaluation.reports import difference, figures
from model.evaluation.suites.answers import Answer, Result, generate, judge
from model.evaluation.suites.evaluate import main
from model.evaluation.suites.execute import Outcome
from model.evaluation.suites.suite import FILES, Task

KEYS = {
    "suite",
    "n",
    "pass_at_1",
    "exact_match",
    "forward_passes",
    "tokens_per_pass",
    "ms_p50",
    "model",
    "mode",
}


def answer_of(task: Task, text: str, tokens: int = 4, passes: int = 2, ms: float = 10.0) -> Answer:
    infill = Infill(
        text=text,
        tokens=tokens,
        steps=passes,
        forward_passes=passes,
        ms=ms,
        ms_prefill=0.0,
        ms_denoise=ms,
        cached_tokens=0,
        prompt_tokens=9,
        confidence=0.5,
        finished=True,
    )
    return Answer(task, infill, task.completion(text), 1.0)


def result(passed: bool, tokens: int = 4, passes: int = 2, ms: float = 10.0) -> Result:
    text = SPAN.canonical_solution if passed else "?"
    return Result(
        answer_of(SPAN, text, tokens, passes, ms), Outcome(passed, "" if passed else "AssertionError: ")
    )


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def test_canonical_answers_pass_and_others_do_not() -> None:
    judged = list(
        judge([answer_of(task, task.canonical_solution) for task in TASKS] + [answer_of(LINE, "    y = 0")])
    )
    assert [each.outcome.passed for each in judged] == [True, True, True, False]
    assert [each.exact for each in judged] == [True, True, True, False]


def test_another_right_answer_passes_but_is_not_exact() -> None:
    (judged,) = judge([answer_of(LINE, "    y = x + x")])
    assert judged.outcome.passed
    assert not judged.exact


def test_figures_are_means_over_tasks_and_ratios_of_sums() -> None:
    found = figures([result(True, 8, 2, 30.0), result(False, 4, 4, 10.0), result(False, 3, 9, 20.0)])
    assert found["pass_at_1"] == found["exact_match"] == 0.3333
    assert found["forward_passes"] == 5.0
    assert found["tokens_per_pass"] == 1.0
    assert found["ms_p50"] == 20.0
    low, high = found["interval"]
    assert 0 <= low <= 0.3333 <= high <= 1


def test_the_bootstrap_agrees_with_the_normal_interval() -> None:
    values = [1.0] * 100 + [0.0] * 300
    low, high = interval(values, lambda drawn: sum(drawn) / len(drawn))
    spread = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    assert low == pytest.approx(0.25 - spread, abs=0.006)
    assert high == pytest.approx(0.25 + spread, abs=0.006)
    assert interval([1.0] * 5, max) == [1.0, 1.0]


def test_the_difference_is_paired() -> None:
    half = [result(bool(i % 2), passes=1 + i) for i in range(40)]
    same = difference(half, half)
    assert same["pass_at_1"] == 0
    # Unpaired, two samples of 40 at 50% would differ by up to 22 points.
    assert same["interval"] == [0, 0]
    assert same["forward_passes_ratio_interval"] == [1, 1]
    fewer = difference([result(True, passes=3)] * 5, [result(False, passes=4)] * 5)
    assert fewer["pass_at_1"] == 1
    assert fewer["forward_passes_ratio"] == 0.75


def test_the_prompt_is_cached_before_each_mode_starts(tiny_model: Path) -> None:
    engine = load_local_engine(str(tiny_model), "cpu", 1)
    samplings = [Sampling(mode=mode, max_tokens=8) for mode in ("diffusion", "autoregressive")]
    for answers in generate(engine, TASKS, samplings, "solution.py"):
        assert len(answers) == 2
        for answer in answers:
            assert answer.infill.cached_tokens >= answer.infill.prompt_tokens - 1
            assert answer.completion == answer.task.completion(answer.infill.text)


def test_both_modes_can_be_evaluated_in_one_run(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write(tmp_path / "ours.jsonl.gz", *map(as_object, TASKS))
    details = tmp_path / "details.jsonl"
    arguments = ("--suite", suite, "--mode", "both", "--model", str(tiny_model), "--device", "cpu")
    found = run(capsys, *arguments, "--max-tokens", "8", "--details", str(details))
    assert found["n"] == 3
    assert found["mode"] == "both"
    assert found["sampling"]["max_tokens"] == 8
    assert set(found["difference"]) >= {"pass_at_1", "interval", "forward_passes_ratio"}
    lines = [json.loads(line) for line in details.read_text(encoding="utf-8").splitlines()]
    assert [line["task_id"] for line in lines] == [task.task_id for task in TASKS] * 2
    for mode in ("diffusion", "autoregressive"):
        mine = [line for line in lines if line["mode"] == mode]
        assert len(mine) == 3
        assert found[mode]["pass_at_1"] == round(sum(line["pass"] for line in mine) / 3, 4)
        assert found[mode]["forward_passes"] == round(sum(line["passes"] for line in mine) / 3, 3)
        assert all(0 < line["tokens"] <= 9 for line in mine)


def test_a_sample_is_evaluated_reproducibly(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write(tmp_path / "ours.jsonl.gz", *map(as_object, TASKS))
    arguments = (
        "--suite",
        suite,
        "--limit",
        "2",
        "--seed",
        "3",
        "--model",
        str(tiny_model),
        "--device",
        "cpu",
    )
    first, second = (run(capsys, *arguments, "--max-tokens", "8", "--block", "4") for _ in range(2))
    assert set(first) >= KEYS
    assert (first["n"], first["seed"], first["mode"], first["device"]) == (2, 3, "diffusion", "cpu")
    assert first["sampling"]["block"] == 4
    times = {"ms_p50", "ms_prefill_p50"}
    assert {k: v for k, v in first.items() if k not in times} == {
        k: v for k, v in second.items() if k not in times
    }


def test_the_default_output_is_a_table(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write(tmp_path / "ours.jsonl.gz", as_object(LINE))
    assert main(["--suite", suite, "--mode", "both", "--model", str(tiny_model), "--max-tokens", "8"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "autoregressive" in shown
    assert "of the passes" in shown


def test_a_table_in_markdown_has_a_row_for_each_suite_and_mode(tiny_model: Path, tmp_path: Path) -> None:
    lines, functions = tmp_path / "lines.jsonl.gz", tmp_path / "functions.jsonl.gz"
    suites = ("--suite", write(lines, as_object(LINE)), "--suite", write(functions, as_object(FUNCTION)))
    table = tmp_path / "table.md"
    arguments = (*suites, "--mode", "both", "--model", str(tiny_model), "--max-tokens", "8", "--shots", "2")
    assert main([*arguments, "--markdown", str(table)]) == 0
    rows = [
        line.split(" | ") for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("|")
    ]
    assert [row[0].strip("| ") for row in rows] == ["suite", "---", *[str(lines)] * 2, *[str(functions)] * 2]
    assert [row[2] for row in rows[2:]] == ["0", "0", "2", "2"]  # only whole functions have shots
    assert len({len(row) for row in rows}) == 1


def test_a_suite_with_missing_tools_is_skipped_with_a_message_and_fails_the_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    java, ours = tmp_path / "java.jsonl.gz", tmp_path / "ours.jsonl.gz"
    suites = ["--suite", write(java, as_object(METHOD)), "--suite", write(ours, as_object(LINE))]
    arguments = [
        *suites,
        "--model",
        str(tiny_model),
        "--max-tokens",
        "8",
        "--toolchains",
        str(tmp_path),
        "--json",
    ]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    told = " ".join(printed.err.split())
    assert "is not run: java: javac is not on the PATH" in told
    assert "apt-get install default-jdk-headless" in told
    missing, ran = json.loads(printed.out)["suites"]
    assert "pass_at_1" not in missing
    assert ran["n"] == 1


def test_two_models_can_be_compared_in_one_run_or_from_their_details(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write(tmp_path / "ours.jsonl.gz", *map(as_object, TASKS))
    arguments = ("--suite", suite, "--model", str(tiny_model), "--max-tokens", "8")
    found = run(capsys, *arguments, "--against", str(tiny_model))
    (row,) = found["paired"]["suites"]
    assert (row["n"], row["pass_at_1"]["difference"], row["forward_passes_ratio"]) == (3, 0, 1)
    details = tmp_path / "details.jsonl"
    run(capsys, *arguments, "--details", str(details))
    assert main(["--compare", str(details), str(details), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suites"] == [row]
    assert main(["--compare", str(details), str(tmp_path / "none.jsonl")]) == 1
    assert "cannot be read as details" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "nonsense"], "There is no suite or file 'nonsense'"),
        (["--suite", next(iter(FILES)), "--limit", "0"], "argument --limit: invalid"),
        (["--suite", next(iter(FILES)), "--mode", "fast"], "argument --mode: invalid choice: 'fast'"),
        ([], "one of the arguments --suite --compare is required"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    printed = capsys.readouterr()
    assert left.value.code == 2
    assert sentence in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_unwritable_details_are_an_error_before_the_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write(tmp_path / "ours.jsonl.gz", as_object(LINE))
    with pytest.raises(SystemExit) as left:
        main(["--suite", suite, "--details", str(tmp_path / "nowhere" / "details.jsonl")])
    assert left.value.code == 2
    assert "No such file" in capsys.readouterr().err


def test_a_missing_model_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = write(tmp_path / "ours.jsonl.gz", as_object(LINE))
    assert main(["--suite", suite, "--model", str(tmp_path / "none")]) == 1
    assert "There is no model" in capsys.readouterr().err


def test_the_command_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "model.evaluation.suites.evaluate", "--suite", "nonsense"]
    folder = ROOT
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith(
        "python -m model.evaluation.suites.evaluate: There is no suite or file 'nonsense'"
    )
