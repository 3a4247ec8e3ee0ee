"""The fit of the mixture finds the informative features; and the whole command on tiny packages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from support.models.tiny_corpus import write_corpus

from mercury_lsp.engine.decoding.mixture import EXPERTS, FEATURES, STEP_FEATURES, Mixture
from model.evaluation.calibration.memory_rows import Hole, MixtureRows
from model.evaluation.calibration.mixture import (
    FOLDS,
    calibration,
    cross_validate,
    fit,
    importance,
    main,
    measure,
    model_nats,
    nats,
)


@pytest.fixture(scope="module")
def rows() -> MixtureRows:
    """Rows at which the project memory is right if its match is long, and the model half of the time."""
    draw = np.random.default_rng(0)
    n = 1200
    features = draw.normal(size=(n, len(FEATURES))).astype(np.float32)
    long = features[:, FEATURES.index("project: length")] > 0
    right = np.zeros((n, len(EXPERTS)), np.float32)
    right[:, 0] = draw.choice([0.9, 0.01], n)
    right[:, 1] = np.where(long, 0.95, 0.0)
    present = np.zeros((n, len(EXPERTS)), bool)
    present[:, :2] = True
    present[::10, 1] = False
    right[::10, 1] = 0.0
    holes = [Hole("python", f"package{i % 6}", f"{i}.py", "rest", 0, 1, 0) for i in range(120)]
    share = draw.random(3000)
    steps = np.zeros((3000, len(STEP_FEATURES) + 1), np.float32)
    steps[:, STEP_FEATURES.index("unanimity")] = share
    steps[:, -1] = draw.random(3000) < share
    return MixtureRows(features, present, right, np.arange(n) // 10, holes, steps)


def test_the_gate_learns_when_the_project_memory_is_right(rows: MixtureRows) -> None:
    mixture = fit(rows, end=0)
    assert nats(mixture, rows).mean() < 0.6 * model_nats(rows).mean()
    unknown = ~rows.present[:, 1]
    np.testing.assert_allclose(nats(mixture, rows)[unknown], model_nats(rows)[unknown], atol=1e-5)
    lost = importance(mixture, rows)
    assert next(iter(lost)) in ("length", "without: project") and lost["length"] > 0.1 > abs(lost["spread"])


def test_each_package_is_measured_with_a_fit_on_other_packages(
    rows: MixtureRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[set[str]] = []

    def seen(own: MixtureRows, end: int) -> Mixture:
        fitted.append(set(own.packages.tolist()))
        return fit(own, end)

    monkeypatch.setattr("model.evaluation.calibration.mixture.fit", seen)
    answer = measure(rows, cross_validate(rows, 0))
    assert len(fitted) == FOLDS and all(len(names) == 4 for names in fitted)
    assert set(answer["projects"]) == {f"package{i}" for i in range(6)}
    assert answer["all"]["tokens"] == 1200 and answer["kinds"]["rest"] == answer["all"]
    low, high = answer["all"]["interval"]
    assert low <= answer["all"]["difference"] <= high < 0


def test_odds_are_calibrated(rows: MixtureRows) -> None:
    for line in calibration(fit(rows, 0), rows):
        assert line["odds"] == pytest.approx(line["right"], abs=0.08)


def test_the_command_records_fits_and_measures_and_reuses_its_records(
    packed_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def area(width, height):\n    result = width * height\n    return result\n\n\n"
    folder = write_corpus(tmp_path / "corpus", "train", python={f"{i}.py": text * 3 for i in range(9)})
    with gzip.open(folder / "train-python.jsonl.gz", "rt", encoding="utf-8") as lines:
        sources = [json.loads(line) for line in lines]
    for split, packages in (("train", "abcd"), ("heldout", "xy")):
        with gzip.open(folder / f"{split}-python.jsonl.gz", "wt", encoding="utf-8") as lines:
            for package in packages:
                lines.writelines(json.dumps(source | {"package": package}) + "\n" for source in sources)
    options = ["--model", str(packed_model), "--corpus", str(folder), "--records", str(tmp_path / "records")]
    options += ["--out", str(tmp_path / "out"), "--per-language", "6", "--threads", "1", "--json"]
    assert main(options) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["heldout"]["projects"]) == {"x", "y"}
    # The network is random, and all files of a project are equal.
    assert answer["heldout"]["all"]["mixed"] < 0.5 * answer["heldout"]["all"]["model"]
    assert Mixture.load(tmp_path / "out", 0) is not None
    monkeypatch.setattr("model.evaluation.calibration.mixture.load_local_engine", None)
    assert main(options) == 0
    assert json.loads(capsys.readouterr().out)["heldout"] == answer["heldout"]


def test_the_error_names_a_missing_corpus(
    packed_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--model",
        str(packed_model),
        "--corpus",
        str(tmp_path),
        "--records",
        str(tmp_path / "records"),
    ]
    assert main([*options, "--out", str(tmp_path)]) == 1
    assert "corpus" in capsys.readouterr().err
