"""The measure on held-out packages: a whole run on a small corpus, and figures that can be checked by hand."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mercury_lsp.complete import likelihood
from model.figures import figures, markdown, report
from model.heldout import main
from model.records import Record, read

GO = "package area\n\n" + "".join(
    f"func Area{i}(width int, height int) int {{\n\treturn width * height * {i}\n}}\n\n" for i in range(5)
)
PYTHON = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(5))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "statistics.json").write_text("{}", encoding="utf-8")
    for language, suffix, text in (("python", "py", PYTHON), ("go", "go", GO)):
        with gzip.open(folder / f"heldout-{language}.jsonl.gz", "wt", encoding="utf-8") as lines:
            for i in range(2):
                about = {"language": language, "package": "p", "version": "1", "licence": "MIT"}
                lines.write(json.dumps(about | {"path": f"{i}.{suffix}", "text": text}) + "\n")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


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
WRONG = replace(
    RECORD, path="b.py", exact=False, first_line=False, ending="other", keys=12, spared=0, spared_by_word=5
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


def test_what_is_too_unlikely_is_not_shown_and_spares_none() -> None:
    sure = likelihood(RECORD.confidence, RECORD.tokens)
    records = [RECORD, replace(RECORD, confidence=0.1), replace(WRONG, shown=None)]
    assert figures(records, 0.0)["shown"] == round(2 / 3, 4)
    found = figures(records, sure)
    assert found["shown"] == round(1 / 3, 4)
    assert found["precision"] == 1
    assert found["spared"]["share"] == round(7 / 28, 4)
    assert found["exact"]["share"] == round(2 / 3, 4)
    assert figures(records, 1.0)["spared"]["share"] == 0


def test_intervals_are_over_files() -> None:
    """Forty holes in two files, one right and one wrong in all of them, are no more than two."""
    alike = [replace(RECORD, start=i) for i in range(20)] + [replace(WRONG, start=i) for i in range(20)]
    assert figures(alike, 0.0)["exact"]["interval"] == [0.0, 1.0]
    apart = [replace(record, path=f"{i}.py") for i, record in enumerate(alike)]
    low, high = figures(apart, 0.0)["exact"]["interval"]
    assert 0.3 < low < 0.5 < high < 0.7


def test_a_report_has_a_row_for_each_language_and_all() -> None:
    answer = report([RECORD, replace(WRONG, language="go", path="b.go")], 0.0)
    assert list(answer["kinds"]) == ["rest"]
    assert list(answer["kinds"]["rest"]) == ["python", "go", "all"]
    lines = markdown(answer).splitlines()
    assert any(line.startswith("| Rest of the line | go | 1 | 0.0% (0.0 to 0.0) |") for line in lines)
    assert len({line.count("|") for line in lines[:5]}) == 1


def test_a_run_writes_what_it_reports(
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


def test_what_cannot_be_measured_is_said(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--corpus", str(tmp_path / "none")]) == 1
    assert "there is no corpus" in capsys.readouterr().err
    assert main(["--corpus", str(corpus), "--languages", "rust"]) == 1
    assert "rust" in capsys.readouterr().err
    assert main(["--again", str(corpus / "statistics.json")]) == 1
    assert "was not written by model.heldout" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["--kinds", "rest,half"])
    assert left.value.code == 2
