"""Tests of `mercury-lsp stats`: its counts and output formats."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.recorded_events import event

from mercury_lsp.cli.main import main
from mercury_lsp.cli.stats import draw_bar
from mercury_lsp.telemetry.stats import count_events, percentiles
from mercury_lsp.telemetry.store import DAY_SECONDS, History, history_file

EVENTS = [
    event(outcome="accepted", latency_ms=10.0, accepted=7, language="go", recalled=False),
    event(outcome="partly", latency_ms=20.0, accepted=3, language="go", recalled=False),
    event(outcome="rejected", latency_ms=30.0, accepted=0),
    event(outcome="typed", latency_ms=40.0, accepted=0),
    event(outcome="continued", latency_ms=1.0, accepted=0),
    event(outcome="unseen", latency_ms=50.0, accepted=0),
    event(outcome="nothing", latency_ms=500.0, shown=0, accepted=0, tokens=0, passes=0, cause="deadline"),
    event(outcome="replaced", accepted=0, moment=time.time() - 3 * DAY_SECONDS, latency_ms=60.0),
]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = History()
    store.configure(90)
    store.add(EVENTS)
    store.close(60)
    return history_file()


def test_events_are_counted() -> None:
    figures = count_events(EVENTS)
    whole = figures["all"]
    assert (whole["requests"], whole["answered"], whole["shown"]) == (8, 7, 5)
    assert (whole["accepted"], whole["partly"], whole["acceptance"]) == (1, 1, 0.4)
    assert (whole["characters_saved"], whole["characters_shown"]) == (10, 45)
    assert whole["latency_ms"] == {"p50": 30.0, "p90": 60.0, "p95": 60.0, "p99": 60.0}
    assert whole["latency_ms_not_from_memory"]["p99"] == 20.0
    assert whole["tokens_per_pass"] == 1.5
    assert list(figures["by_language"]) == ["python", "go"]
    assert figures["by_language"]["go"]["acceptance"] == 1.0
    assert len(figures["by_day"]) == 2 and list(figures["by_day"]) == sorted(figures["by_day"])
    assert figures["nothing_because"] == {"deadline": 1}


def test_percentiles_are_measured_values() -> None:
    assert percentiles([]) == dict.fromkeys(("p50", "p90", "p95", "p99"))
    assert percentiles([5]) == dict.fromkeys(("p50", "p90", "p95", "p99"), 5)
    assert percentiles(range(100, 0, -1)) == {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


def test_the_length_of_a_bar_is_its_share() -> None:
    assert draw_bar(0).strip() == "" and draw_bar(1) == "█" * len(draw_bar(0))
    assert draw_bar(0.5) == ("█" * (len(draw_bar(0)) // 2)).ljust(len(draw_bar(0)))
    assert draw_bar(0.01).strip() == "" or len(draw_bar(0.01).strip()) == 1


def test_json_is_one_object(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["requests"] == len(EVENTS)
    assert main(["stats", "--json", "--days", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["requests"] == len(EVENTS) - 1


def test_the_tables_fit_a_terminal(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["stats"]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed and max(map(len, printed.splitlines())) <= 80
    assert "python" in printed and time.strftime("%Y-%m-%d") in printed and "40%" in printed
    assert "deadline 1" in printed


def test_an_empty_history_is_reported_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["stats"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("No suggestions recorded yet") and printed.count("\n") == 1
    assert main(["stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["acceptance"] is None
    assert main(["stats", "--clear"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_history_is_empty_after_clear(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--clear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": len(EVENTS)}
    assert main(["stats"]) == 0
    assert capsys.readouterr().out.startswith("No suggestions recorded yet")


def test_bad_usage_is_reported_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--days", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
