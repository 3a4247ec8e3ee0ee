"""The process of a training campaign: one at a time, in its own worktree; it can be paused, stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.training.campaign import Campaign, CampaignError, describe, main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="halting is told from /proc")

RECIPE = "model/recipes/small-campaign.toml"
# A stub in place of `model.training.train`, which only reports its priority and arguments.
TRAIN = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--runs") + 1], "small-campaign")
folder.mkdir(parents=True, exist_ok=True)
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
if not os.fork():
    time.sleep(600)
while not ended:
    time.sleep(0.02)
    (folder / "seen").write_text(json.dumps([os.nice(0), os.sched_getscheduler(0), MARK, sys.argv[1:]]))
(folder / "saved").write_text("yes")
os.killpg(0, signal.SIGKILL)
"""


def commit(repository: Path, mark: int) -> str:
    """Commit a stub that reports ``mark``; return the hash of the commit."""
    (repository / "model").mkdir(exist_ok=True)
    (repository / "model" / "__init__.py").write_text("", encoding="utf-8")
    (repository / "model" / "train.py").write_text(TRAIN.replace("MARK", str(mark)), encoding="utf-8")
    (repository / RECIPE).parent.mkdir(exist_ok=True)
    (repository / RECIPE).write_text('base = "small"\nsteps = 100\n', encoding="utf-8")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=repository, check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
    )
    return head.stdout.strip()


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    repository = tmp_path / "repository"
    repository.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    commit(repository, 1)
    made = Campaign(repository, tmp_path / "campaign", tmp_path / "runs", RECIPE)
    yield made
    made.stop(20)


def next_report(campaign: Campaign) -> list[object]:
    """Wait for the run's next report and return it."""
    file = campaign.run / "seen"
    file.unlink(missing_ok=True)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            return list(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            time.sleep(0.02)
    raise TimeoutError((campaign.folder / "log").read_text(encoding="utf-8"))


def test_a_campaign_runs_once_at_the_lowest_priority_and_is_saved_when_stopped(campaign: Campaign) -> None:
    assert campaign.pid() is None and campaign.stop() == campaign.pause() == "the campaign is not running"
    assert "started at commit" in campaign.start(options=["--steps", "9"])
    nice, policy, mark, arguments = next_report(campaign)
    assert (nice, policy, mark) == (19, os.SCHED_IDLE, 1)
    group = Path(f"/proc/{campaign.pid()}/autogroup")
    assert not group.is_file() or group.read_text(encoding="ascii").split()[-1] == "19"
    assert isinstance(arguments, list) and arguments[0] == RECIPE and "9" in arguments
    with pytest.raises(CampaignError, match="running already"):
        campaign.start()
    assert campaign.stop(20) == "saved and ended"
    assert (campaign.run / "saved").read_text(encoding="utf-8") == "yes"
    assert campaign.pid() is None


def test_a_paused_campaign_is_resumed_by_start(campaign: Campaign) -> None:
    campaign.start()
    next_report(campaign)
    pid = campaign.pid()
    assert "halted" in campaign.pause()
    assert campaign.status()["state"] == "paused"
    assert "goes on" in campaign.start()
    next_report(campaign)
    assert campaign.status()["state"] == "running" and campaign.pid() == pid
    campaign.pause()
    assert campaign.stop(20) == "saved and ended"


def test_a_campaign_can_start_again_after_its_run_was_killed(campaign: Campaign) -> None:
    campaign.start()
    next_report(campaign)
    pid = campaign.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    # The worker of the run still holds the lock.
    assert campaign.pid() is not None
    assert "started" in campaign.start()
    next_report(campaign)
    assert campaign.pid() != pid


def test_a_restarted_campaign_keeps_its_commit_unless_another_is_named(campaign: Campaign) -> None:
    campaign.start()
    assert next_report(campaign)[2] == 1
    commit(campaign.source, 2)
    campaign.stop(20)
    campaign.start()
    assert next_report(campaign)[2] == 1
    campaign.stop(20)
    campaign.start("HEAD")
    assert next_report(campaign)[2] == 2
    campaign.stop(20)
    with pytest.raises(CampaignError, match="git rev-parse"):
        campaign.start("no-such-commit")
    assert campaign.pid() is None


def test_the_status_is_read_from_the_files_of_the_run(campaign: Campaign) -> None:
    campaign.start()
    next_report(campaign)
    campaign.stop(20)
    lines = [
        {"step": step, "rows": 600 * step, "minutes": 0.5 * step, "next_token": 2.0} for step in range(1, 51)
    ]
    (campaign.run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    point = {"rows": 0, "nats": 2.2, "interval": [2.1, 2.3], "step": 0}
    (campaign.run / "curve.jsonl").write_text(json.dumps(point) + "\n", encoding="utf-8")
    status = campaign.status()
    assert status["state"] == "stopped"
    assert (status["step"], status["steps"], status["rows"], status["rows_wanted"]) == (
        50,
        100,
        30_000,
        60_000,
    )
    assert status["rows_per_s"] == 20.0
    assert status["hours_left"] == pytest.approx(30_000 / 20 / 3600, abs=0.05)
    text = describe(status)
    assert "step 50 of 100" in text and "2.2 (2.1 to 2.3)" in text


def test_the_command_reports_that_no_campaign_is_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"
    assert main(["stop"]) == 0
    assert "not running" in capsys.readouterr().out
