"""The chart of decoders: its list of decoders, its figures, and the command on the tiny network."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from model.evaluation.suites import suite as suites
from model.evaluation.suites.chart import REFERENCE, Decoder, decoders, main, points, rows


def line(task: str, mode: str, passed: bool, passes: int, model: str = "m") -> dict[str, Any]:
    return {
        "suite": "single-line",
        "model": model,
        "task_id": f"SingleLineInfilling/HumanEval/{task}/L1",
        "mode": mode,
        "pass": passed,
        "exact": passed,
        "tokens": 12,
        "passes": passes,
        "ms": float(passes),
    }


def test_the_chart_has_all_its_decoders_with_distinct_modes() -> None:
    made = decoders()
    assert {"autoregressive", REFERENCE, "entropy bound", "threshold", "draft and verify"} <= {
        decoder.name for decoder in made
    }
    assert len({decoder.mode for decoder in made}) == len(made)
    assert all((decoder.sampling is None) == bool(decoder.rule) for decoder in made)


def test_points_compare_each_decoder_with_one_token_per_pass() -> None:
    lines = [
        *(line(str(i), REFERENCE, i < 4, 12) for i in range(8)),
        *(line(str(i), "threshold: 0.9", i < 3, 4) for i in range(8)),
        *(line(str(i), "autoregressive", i < 2, 10, "other") for i in range(8)),
    ]
    reference, threshold, other = points(lines)
    assert (threshold["decoder"], threshold["setting"]) == ("threshold", "0.9")
    assert (threshold["pass_at_1"], threshold["passes"], threshold["tokens_per_pass"]) == (0.375, 4.0, 3.0)
    assert threshold["against_one_token"]["difference"] == -0.125
    assert "against_one_token" not in other  # this point is of another model
    table = rows([reference, threshold, other])
    assert table[1][:4] == ["m", "threshold", "0.9", "8"]
    assert table[1][6].startswith("-12.5%")
    assert table[0][6] == table[2][6] == "\N{EN DASH}"


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = {
        "task_id": "SingleLineInfilling/HumanEval/0/L0",
        "entry_point": "one",
        "prompt": "def one():\n",
        "suffix": "",
        "canonical_solution": "    return 1\n",
        "test": "def check(f):\n    assert f() == 1\n",
    }
    file = tmp_path / "tasks.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.write(json.dumps(task) + "\n")
    monkeypatch.setitem(suites.FILES, "single-line", str(file))


@pytest.mark.usefixtures("suite")
def test_the_command_measures_and_redraws_the_chart_from_details(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details, png = tmp_path / "details.jsonl", tmp_path / "chart.png"
    asked = ["--model", str(tiny_model), "--device", "cpu", "--details", str(details), "--json"]
    assert main(asked) == 0
    first = json.loads(capsys.readouterr().out)
    assert [(point["decoder"], point["setting"]) for point in first["points"]] == [
        (decoder.name, decoder.setting) for decoder in decoders()
    ]
    assert all(point["n"] == 1 for point in first["points"])
    assert main(["--again", str(details), "--png", str(png), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == first["points"]
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_error_names_an_unknown_decoder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--decoder", "magic"])
    assert "there is no decoder magic" in capsys.readouterr().err


@pytest.mark.usefixtures("suite")
def test_a_missing_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "/nowhere", "--limit", "1"]) == 1
    assert "There is no model" in capsys.readouterr().err


def test_the_mode_of_a_decoder_is_its_name_and_setting() -> None:
    assert Decoder("a", "").mode == "a"
    assert Decoder("a", "1").mode == "a: 1"
