"""What a likelihood is worth, and the threshold that follows: figures by hand, and records whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from test_records import RECORD

from mercury_lsp.complete import likelihood
from model.calibrate import STATISTICS, at, auc, choose, error, halves, main, markdown, reliability, report
from model.records import Record


def records(count: int, trust: float = 1.0, seed: int = 0) -> list[Record]:
    """Suggestions that are right as often as the model says, or ``trust`` times as often; two in a file."""
    random = Random(seed)
    made = []
    for i in range(count):
        sure, tokens = random.random(), random.randint(1, 9)
        right = random.random() < sure * trust
        own = replace(RECORD, path=f"{i // 2}.py", confidence=sure ** (1 / tokens), tokens=tokens)
        made.append(replace(own, first_line=right, spared=7 * right))
    return made


def test_the_area_under_the_curve_is_a_share_of_pairs() -> None:
    assert auc([0.1, 0.9], [False, True]) == 1.0
    assert auc([0.9, 0.1], [False, True]) == 0.0
    assert auc([0.5, 0.5, 0.1, 0.9], [True, False, False, True]) == pytest.approx(3.5 / 4)
    assert auc([0.3, 0.4], [True, True]) == 0.5


def test_the_servers_likelihood_tells_right_from_wrong_best_where_it_is_the_truth() -> None:
    assert STATISTICS["joint"](0.7, 5) == likelihood(0.7, 5)
    found = report(records(2000), 0.5, 0.3, 0)["statistics"]
    assert found["joint"]["auc"] > found["root"]["auc"] > found["mean"]["auc"]
    low, high = found["joint"]["interval"]
    assert low < found["joint"]["auc"] < high < low + 0.1


def test_reliability_shows_whether_a_likelihood_keeps_its_word() -> None:
    def bins(made: list[Record]) -> list[dict[str, float]]:
        return reliability([one.likelihood for one in made], [one.first_line for one in made])

    rows = bins(records(4000))
    assert [row["n"] for row in rows] == [400] * 10
    assert all(row["right"] == pytest.approx(row["likelihood"], abs=0.08) for row in rows)
    assert error(rows) < 0.04
    assert error(bins(records(4000, trust=0.5))) == pytest.approx(0.25, abs=0.03)
    assert error(reliability([0.8], [True])) == pytest.approx(0.2)


def test_the_threshold_shows_as_much_as_may_be_shown() -> None:
    made = records(4000)
    threshold, met = choose(made, 0.5, 0.3)
    assert met and threshold == pytest.approx(0.0, abs=0.05)  # from 0 on, half are right
    threshold, met = choose(made, 0.75, 0.3)
    assert met and threshold == pytest.approx(0.5, abs=0.06)
    assert at(made, threshold)["precision"] >= 0.75 > at(made, threshold - 0.05)["precision"]


def test_where_the_precision_is_out_of_reach_enough_is_shown() -> None:
    made = [*records(1000, trust=0.2), *(replace(RECORD, path=f"{i}.js", shown=None) for i in range(500))]
    threshold, met = choose(made, 0.5, 0.3)
    assert not met
    assert at(made, threshold)["shown"] == pytest.approx(0.3, abs=0.01)
    assert choose([replace(RECORD, shown=None)], 0.5, 0.3) == (0.0, False)


def test_no_file_is_in_both_halves() -> None:
    one, other = halves(records(100))
    assert len(one) + len(other) == 100
    assert not {record.file for record in one} & {record.file for record in other}
    assert halves(records(100)) == (one, other)


def test_the_report_tells_of_files_that_the_threshold_was_not_chosen_on() -> None:
    made = records(600)
    answer = report(made, 0.7, 0.3, 0)
    one, other = halves(made)
    assert answer["split"]["chosen"] == at(one, choose(one, 0.7, 0.3)[0])
    assert answer["split"]["reported"]["precision"] == at(other, choose(one, 0.7, 0.3)[0])["precision"]
    assert answer["exchanged"]["chosen"]["threshold"] == choose(other, 0.7, 0.3)[0]
    assert f"show_likelihood {answer['split']['chosen']['threshold']}:" in markdown(answer)
    assert "No threshold makes 90%" in markdown(report(records(600, trust=0.1), 0.9, 0.3, 0))


def test_the_command_reads_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "details.jsonl"
    made = [*records(60), replace(RECORD, kind="lines", path="other.py")]
    file.write_text("".join(record.line() for record in made), encoding="utf-8")
    assert main([str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["requests"] == 60
    assert answer["curve"][0]["shown"] == 1
    assert main([str(file), "--kinds", "all", "--markdown", str(tmp_path / "t.md")]) == 0
    assert "61 requests" in capsys.readouterr().out
    assert "| joint |" in (tmp_path / "t.md").read_text(encoding="utf-8")
    assert main([str(file), "--kinds", "node"]) == 1
    assert "nothing is shown" in capsys.readouterr().err
    assert main([str(tmp_path / "none.jsonl")]) == 1
    assert "cannot be read" in capsys.readouterr().err
