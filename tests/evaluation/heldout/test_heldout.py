"""The evaluation on held-out packages: whole runs of the command on a small corpus with a tiny network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.models.tiny_corpus import write_corpus

from model.evaluation.heldout.heldout import main
from model.evaluation.heldout.records import read

GO = "package area\n\n" + "".join(
    f"func Area{i}(width int, height int) int {{\n\treturn width * height * {i}\n}}\n\n" for i in range(5)
)
PYTHON = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(5))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(
        tmp_path / "corpus",
        "heldout",
        python={f"{i}.py": PYTHON for i in range(2)},
        go={f"{i}.go": GO for i in range(2)},
    )


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def test_a_run_writes_records_from_which_its_report_can_be_repeated(
    corpus: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details, tables = tmp_path / "details.jsonl", tmp_path / "tables.md"
    arguments = ("--corpus", corpus, "--model", tiny_model, "--device", "cpu", "--threads", 1)
    arguments += ("--languages", "python,go", "--per-language", 2, "--kinds", "rest,next,node")
    first = run(capsys, *arguments, "--details", details, "--markdown", tables)
    assert first["kinds"].keys() == {"rest", "next", "node"}
    assert first["kinds"]["rest"].keys() == {"python", "go", "all"}
    assert first["kinds"]["next"]["all"]["n"] == 4
    records = read(details)
    assert len(records) == first["n"]
    for record in records:
        text = PYTHON if record.language == "python" else GO
        assert text[record.start :].startswith(record.hole)
        assert record.tokens <= 65 and record.passes > 0 and 0 < record.confidence < 1
    assert "Rest of the line | python" in tables.read_text(encoding="utf-8")
    assert run(capsys, *arguments) == first
    assert run(capsys, "--again", details) == first
    stricter = run(capsys, "--again", details, "--show-likelihood", 1)
    assert stricter["kinds"]["rest"]["all"]["shown"] == 0
    paired = run(capsys, "--again", details, "--against", details)["gains"]
    assert paired["all"]["all"]["n"] == first["n"]
    assert paired["all"]["all"]["spared"]["difference"] == 0


def test_refusals_by_trigger_rules_are_reported(
    corpus: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = tmp_path / "details.jsonl"
    arguments = ("--corpus", corpus, "--model", tiny_model, "--device", "cpu", "--show-likelihood", 0)
    arguments += (
        "--languages",
        "python,go",
        "--per-language",
        2,
        "--kinds",
        "rest,word",
        "--details",
        details,
    )
    asked = run(capsys, *arguments, "--setting", "max_tokens=4")
    ((reason, told),) = asked["refused"].items()
    assert reason == "the cursor is in the middle of a word"
    assert told["n"] == asked["kinds"]["word"]["all"]["n"] and told["forward_passes"] > 0
    assert {record.refused for record in read(details)} == {reason, None}
    unasked = run(capsys, *arguments, "--setting", "max_tokens=4", "--unasked")
    told = unasked["refused"][reason]
    assert told["shown"] == 0 and told["forward_passes"] == 0
    assert unasked["kinds"]["rest"]["all"]["forward_passes"] > 0
    assert main(["--again", str(details)]) == 0
    assert "word" in capsys.readouterr().out


def test_invalid_arguments_are_errors(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--corpus", str(tmp_path / "none")]) == 1
    assert "there is no corpus" in capsys.readouterr().err
    assert main(["--corpus", str(corpus), "--languages", "rust"]) == 1
    assert "rust" in capsys.readouterr().err
    assert main(["--again", str(corpus / "statistics.json")]) == 1
    assert "was not written by model.evaluation.heldout.heldout" in capsys.readouterr().err
    for arguments in (["--kinds", "rest,half"], ["--setting", "max_tokens=many"], ["--setting", "speed=9"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2


def test_settings_of_the_server_are_applied(
    corpus: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = tmp_path / "details.jsonl"
    arguments = ("--corpus", corpus, "--model", tiny_model, "--device", "cpu", "--details", details)
    arguments += (
        "--languages",
        "go",
        "--per-language",
        2,
        "--kinds",
        "next",
        "--setting",
        "multiline=always",
    )
    run(capsys, *arguments, "--setting", "max_tokens=4")
    assert all(not record.one_line and record.tokens <= 5 for record in read(details))


def test_other_files_of_a_package_are_used_if_the_settings_ask_for_them(
    corpus: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--corpus", corpus, "--model", tiny_model, "--device", "cpu", "--languages", "python")
    arguments += ("--per-language", 2, "--kinds", "next", "--threads", 1)
    said = []
    for files in ("none", "open"):
        details = tmp_path / f"{files}.jsonl"
        settings = ("--setting", f"project_files={files}")
        run(capsys, *arguments, *settings, "--setting", "context_tokens=22", "--details", details)
        said.append([(record.hole_id, record.confidence) for record in read(details)])
    assert [hole for hole, _ in said[0]] == [hole for hole, _ in said[1]]
    assert said[0] != said[1]
