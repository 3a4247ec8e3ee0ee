"""Comparison of the model with a completion server on a suite: selected tasks, pass@1 of each side, the report."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from support.servers.completion_server import serving, writes

from mercury_lsp.engine.tokenizer import Tokenizer
from model.evaluation.suites import against

SIDES = ("diffusion", "autoregressive", "server")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Two tasks; `return 4` solves the first one."""
    task = {
        "entry_point": "f",
        "prompt": "def f():\n",
        "suffix": "",
        "test": "def check(candidate):\n    assert candidate() == 4\n",
    }
    file = tmp_path / "tasks.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        for number, solution in enumerate(
            ("    return 4\n", "    return sum(number for number in (1, 3))\n")
        ):
            name = f"SingleLineInfilling/{number}"
            lines.write(json.dumps({**task, "task_id": name, "canonical_solution": solution}) + "\n")
    return file


def test_the_answers_of_all_sides_are_timed_and_executed(
    tiny_model: Path, tokenizer: Tokenizer, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = tmp_path / "details.jsonl"
    solution = tokenizer.encode("    return 4")
    with serving(writes(*solution, newlines=tokenizer.newlines())) as (url, seen):
        given = [url, "--suite", str(suite), "--model", str(tiny_model), "--device", "cpu", "--json"]
        assert against.main([*given, "--max-tokens", "12", "--details", str(details)]) == 0
        assert all(body["n_predict"] in (1, 12) for body in seen)
        assert against.main([*given[:-1], "--max-tokens", "12"]) == 0
    printed, _, table = capsys.readouterr().out.partition("\n")
    found = json.loads(printed)
    assert (found["n"], found["model"], found["server"], found["device"]) == (2, "tiny", "tiny.gguf", "cpu")
    assert {name: side["pass_at_1"] for name, side in found["sides"].items()} == {
        "diffusion": 0.0,
        "autoregressive": 0.0,
        "server": 1.0,
    }
    assert found["sides"]["server"]["exact_match"] == 0.5
    assert found["sides"]["server"]["time_over_server"] == 1.0
    assert found["single_line"]["n"] == 2
    lines = [json.loads(line) for line in details.read_text().splitlines()]
    assert [line["mode"] for line in lines] == [side for side in SIDES for _ in range(2)]
    assert lines[-1]["completion"] == "    return 4\n"
    assert all(side in table for side in SIDES)
    assert "diffusion than server" in table


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--least", "99"), "There is no such task"),
        (("--suite", "nowhere"), "no suite or file 'nowhere'"),
        (("--model", "nowhere"), "no model 'nowhere'"),
        ((), "cannot be asked"),
    ],
)
def test_invalid_arguments_are_errors(
    tiny_model: Path, suite: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], says: str
) -> None:
    given = ["http://127.0.0.1:1", "--suite", str(suite), "--model", str(tiny_model), "--device", "cpu"]
    assert against.main([*given, *options]) == 1
    assert says in " ".join(capsys.readouterr().err.split())


def test_tasks_can_be_limited_to_long_solutions(
    tiny_model: Path, tokenizer: Tokenizer, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(writes(1)) as (url, _):
        given = [url, "--suite", str(suite), "--model", str(tiny_model), "--least", "8", "--max-tokens", "8"]
        assert against.main([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 1


def test_tasks_can_be_limited_to_long_earlier_answers(
    tiny_model: Path, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tmp_path / "before.jsonl"
    line = {
        "suite": "single-line",
        "model": "tiny",
        "mode": "diffusion",
        "pass": False,
        "exact": False,
        "passes": 1,
    }
    names = {"SingleLineInfilling/0": 23, "SingleLineInfilling/1": 24}
    lines = [json.dumps({**line, "task_id": name, "tokens": tokens}) for name, tokens in names.items()]
    before.write_text("\n".join(lines), encoding="utf-8")
    with serving(writes(1)) as (url, _):
        given = [url, "--suite", str(suite), "--model", str(tiny_model), "--long", str(before), "--json"]
        assert against.main([*given, "--max-tokens", "8"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 1
