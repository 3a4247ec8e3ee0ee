"""What `doctor` finds around the program: programs on the PATH, folders, and outcomes of recent requests."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest
from support.recorded_events import event

from mercury_lsp import __version__
from mercury_lsp.cli.doctor import command, environment
from mercury_lsp.cli.doctor.report import Report
from mercury_lsp.telemetry import store
from mercury_lsp.telemetry.store import Event, History

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are shell scripts")


def install(folder: Path, script: str) -> str:
    folder.mkdir()
    path = folder / environment.PROGRAM
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def problems(report: Report) -> list[str]:
    return [problem.problem for problem in report.problems]


def test_a_wrong_or_broken_program_that_is_first_on_the_path_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = install(tmp_path / "own", f"echo mercury-lsp {__version__}")
    old = install(tmp_path / "old", "echo mercury-lsp 0.0.1")
    broken = install(tmp_path / "broken", "exit 1")
    for first, told in ((own, None), (old, "version 0.0.1"), (broken, "does not run")):
        order = [first, *(path for path in (own, old, broken) if path != first)]
        monkeypatch.setenv("PATH", os.pathsep.join(str(Path(path).parent) for path in order))
        report = Report()
        versions = environment.check_programs(report)
        assert list(versions) == order
        assert (versions[own], versions[old], versions[broken]) == (__version__, "0.0.1", None)
        assert len(report.problems) == (told is not None)
        assert all(str(told) in problem and first in problem for problem in problems(report))


def test_a_program_that_is_not_on_the_path_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = Report()
    assert environment.check_programs(report) == {}
    (problem,) = report.problems
    assert "not on the PATH" in problem.problem and str(Path(sys.executable).parent) in problem.fix
    assert report.usable


def test_a_model_set_by_the_environment_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report()
    monkeypatch.setenv("MERCURY_MODEL", "mini")
    assert environment.check_environment(report) == {"MERCURY_MODEL": "mini"}
    assert "MERCURY_MODEL is set to mini" in problems(report)[0]
    monkeypatch.setenv("MERCURY_MODEL", "")
    assert environment.check_environment(Report()) == {"MERCURY_MODEL": None}


def test_a_missing_folder_is_checked_by_its_nearest_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    report = Report()
    found = environment.check_folders(report)
    # The check creates no folder.
    assert not report.problems and not list(tmp_path.iterdir())
    assert all(facts["writable"] and facts["free_mb"] > 0 for facts in found.values())
    monkeypatch.setattr(environment, "MIN_FREE_MB", 1 << 40)
    monkeypatch.setattr(environment, "_writable", lambda folder: True)
    environment.check_folders(report)
    assert "MB are free" in problems(report)[0]
    monkeypatch.setattr(environment, "_writable", lambda folder: False)
    report = Report()
    environment.check_folders(report)
    assert [("cannot write" in problem) for problem in problems(report)] == [True, True]


def record_events(monkeypatch: pytest.MonkeyPatch, folder: Path, *events: Event) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.setattr(store, "BATCH_SECONDS", 0.01)
    writer = History()
    writer.configure(90)
    writer.add(events)
    writer.close(60)


def test_a_recent_week_without_suggestions_is_a_problem_with_its_chief_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"outcome": "nothing", "shown": 0, "accepted": 0}
    record_events(
        monkeypatch,
        tmp_path,
        event(moment=time.time() - 30 * store.DAY_SECONDS),
        *(event(cause="withheld", **nothing) for _ in range(3)),
        event(cause="deadline", **nothing),
    )
    report = Report()
    found = environment.recent_requests(report)
    assert found == {"days": 7, "requests": 4, "shown": 0, "chief_cause_of_none": "withheld"}
    (problem,) = report.problems
    assert "none of the 4 requests" in problem.problem and "show_likelihood" in problem.fix
    record_events(monkeypatch, tmp_path, event())
    report = Report()
    found = environment.recent_requests(report)
    assert found is not None and found["shown"] == 1 and not report.problems


def test_an_unreadable_history_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = store.history_file()
    file.parent.mkdir()
    file.write_bytes(b"no database" * 100)
    report = Report()
    assert environment.recent_requests(report) is None
    assert report.problems[0].fix == "run mercury-lsp stats --clear to delete the history" and report.usable


def test_the_server_is_not_started_after_a_fatal_problem() -> None:
    report = Report()
    report.add_problem("there is no model", "install one", fatal=True)
    assert environment.check_server(report) is None
    assert len(report.problems) == 1


def test_the_report_ends_with_at_most_three_fixes_and_fatal_problems_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report()
    for number in range(5):
        report.add_problem(f"part {number} is off", f"do thing {number}", fatal=number == 4)
    command._print_report(report)
    said = capsys.readouterr().out
    assert re.findall(r"^(\d)\. Do thing (\d)\.$", said, re.MULTILINE) == [("1", "4"), ("2", "0"), ("3", "1")]
    assert "part 0 is off" in said and "part 2 is off" not in said and "2 more" in said
