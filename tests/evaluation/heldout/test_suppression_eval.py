"""The evaluation of suppression rules: whole runs on a small corpus with a tiny network, and the exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.models.tiny_corpus import write_corpus

from model.evaluation.heldout import suppression_eval as manners
from model.evaluation.heldout.suppression_eval import (
    SHIPPED,
    UNPROCESSED,
    VARIANTS,
    WITHOUT_TRIGGER_RULES,
    Outcome,
    main,
    report,
)

CODE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(4))
ONE = Outcome(SHIPPED, "python", "p", "a.py", "rest", 9, "x", None, 0.5, 5.0, True, False, False)


@pytest.fixture
def command(tmp_path: Path, tiny_model: Path) -> list[str]:
    corpus = write_corpus(
        tmp_path / "corpus", "heldout", python={"a.py": CODE, "b.py": CODE.replace("area", "size")}
    )
    return [
        "--corpus",
        str(corpus),
        "--model",
        str(tiny_model),
        "--languages",
        "python",
        "--per-language",
        "2",
    ]


def test_a_run_evaluates_each_variant_at_each_place(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = tmp_path / "details.jsonl"
    # No shown suggestion does any harm.
    assert main([*command, "--details", str(details), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.keys() == VARIANTS.keys() | {UNPROCESSED}
    assert {row["n"] for row in answer.values()} == {2}
    everything = answer["without suppression of the unlikely"]
    assert everything["shown"] >= answer[SHIPPED]["shown"] == answer[WITHOUT_TRIGGER_RULES]["shown"]
    outcomes = [Outcome(**json.loads(line)) for line in details.read_text(encoding="utf-8").splitlines()]
    assert len(outcomes) == 2 * len(answer) and {one.kind for one in outcomes} == {"rest", "next"}
    for outcome in outcomes:
        assert (outcome.shown is None) or outcome.reason is None
    assert main([*command, "--variants", "shipped,related from opened"]) == 0
    assert "as shipped" in capsys.readouterr().out


def test_harmful_suggestions_of_the_shipped_variant_fail_the_command(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manners, "outcomes", lambda *_: [replace(ONE, worsened=True)])
    assert main(command) == 1
    monkeypatch.setattr(manners, "outcomes", lambda *_: [replace(ONE, variant=UNPROCESSED, worsened=True)])
    assert main(command) == 0


def test_figures_equal_those_computed_manually() -> None:
    wrong, hidden = (
        replace(ONE, path="b.py", right=False, again=True, ms=7.0),
        replace(ONE, shown=None, reason="why"),
    )
    row = report([ONE, ONE, wrong, hidden])[SHIPPED]
    assert (row["n"], row["shown"], row["precision"]) == (4, 0.75, 0.6667)
    assert (row["worsened"], row["again"], row["ms_p50"], row["reasons"]) == (0, 1, 5.0, {"why": 1})


def test_a_missing_corpus_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--corpus", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
